//! `HAProxy` as one sets it up for a small API: one thread, a shared kept pool, an access log of like content; and once
//! more with the verification of RS256 tokens that its manual describes (`jwt_verify`), with expiry, issuer and audience.
//!
//! It writes no files by itself, so its log takes one of [`LogPath`]'s ways. The comparison uses the one that costs
//! `HAProxy` least; whoever receives the log is not charged to it.
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use super::identity::{AUDIENCE, ISSUER};
use super::process::{Launch, free_addresses};

/// How `HAProxy` gets its log lines out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogPath {
    /// Standard output that is a file: one `writev` a line.
    File,
    /// Its own in-memory ring, sent on in large writes over TCP to a receiver on the load's core.
    #[default]
    Ring,
    /// The classic: one datagram a line on a Unix socket, to a receiver on the load's core.
    Datagram,
}

/// Where the log goes in this run, as far as the configuration is concerned.
#[derive(Debug, Clone)]
pub(super) enum LogTarget {
    Off,
    Stdout,
    Ring(SocketAddr),
    Datagram(std::path::PathBuf),
}

pub(super) fn launch(
    directory: &Path,
    origin: SocketAddr,
    log: &LogTarget,
    verify_with: Option<&Path>,
) -> Result<Launch> {
    let [listen] = free_addresses()?;
    let path = directory.join("haproxy.cfg");
    fs::write(&path, config(listen, origin, log, verify_with))?;
    let mut command = Command::new("haproxy");
    // In the foreground, without a master, and without the start-up notices.
    command.arg("-db").arg("-q").arg("-f").arg(&path);
    Ok(Launch { command, listen, stdout: None })
}

fn config(listen: SocketAddr, origin: SocketAddr, log: &LogTarget, verify_with: Option<&Path>) -> String {
    let target = match log {
        LogTarget::Off => String::new(),
        LogTarget::Stdout => "log stdout format raw local0 info".to_owned(),
        LogTarget::Ring(_) => "log ring@access local0 info".to_owned(),
        LogTarget::Datagram(path) => format!("log {} format raw local0 info", path.display()),
    };
    let logging = if target.is_empty() {
        ""
    } else {
        r#"log global
  log-format '{"time":"%tr","client":"%ci","method":"%HM","path":"%HPO","status":%ST,"bytes":%B,"duration_ms":%Ta,"upstream":"%b/%s","upstream_duration_ms":%Tr,"state":"%tsc"}'"#
    };
    let mut config = format!(
        "global
  nbthread 1
  maxconn 4096
  {target}
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  http-reuse always
  {logging}
frontend edge
  bind {listen}
"
    );
    if let Some(key) = verify_with {
        let key = key.display();
        write!(
            config,
            "  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')
  http-request set-var(txn.aud) var(txn.bearer),jwt_payload_query('$.aud')
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.bearer) -m found }}
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str RS256 }}
  http-request deny deny_status 401 unless {{ var(txn.iss) -m str {ISSUER} }}
  http-request deny deny_status 401 unless {{ var(txn.aud) -m str {AUDIENCE} }}
  http-request deny deny_status 401 unless {{ var(txn.exp),sub(txn.now) -m int gt 0 }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.alg,\"{key}\") -m int 1 }}
"
        )
        .expect("a String takes all");
    }
    write!(
        config,
        "  default_backend api
backend api
  server one {origin}
"
    )
    .expect("a String takes all");
    if let LogTarget::Ring(receiver) = log {
        write!(
            config,
            "ring access
  format raw
  maxlen 1024
  size 16777216
  timeout connect 5s
  timeout server 60s
  server receiver {receiver}
"
        )
        .expect("a String takes all");
    }
    config
}
