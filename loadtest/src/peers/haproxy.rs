//! `HAProxy` as one sets it up for a small API: one thread, a shared kept pool, an access log of like content; and once
//! more with the verification of RS256 tokens that its manual describes (`jwt_verify`), with expiry, issuer and audience.
//!
//! It opens no log files by itself, so its log takes one of [`LogPath`]'s ways. The comparison uses the one that costs
//! `HAProxy` least, loses no line and ends in a file as the others' logs do: standard output into a file. Its manual
//! advises against that where disks stall, which they do for everybody here alike. On one machine, over no log: file
//! 2.0 µs a request, ring 3.5, datagrams 6.5 with a third of the lines lost (Linux queues ten of them).
//! Whoever receives a log is not charged to `HAProxy`.
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use super::identity::{AUDIENCE, ISSUER};
use super::origin::Origin;
use super::process::{Launch, free_addresses};

/// How `HAProxy` gets its log lines out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogPath {
    /// Standard output that is a file: one `writev` a line.
    #[default]
    File,
    /// Its own in-memory ring, sent on in large writes over TCP to a receiver on the load's core.
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
    Datagram(PathBuf),
}

/// What is done with tokens, and the issuer's key for it.
#[derive(Debug, Clone)]
pub(super) enum Tokens {
    Ignored,
    SignatureOnly(PathBuf),
    Whole(PathBuf),
}

pub(super) struct Plan<'a> {
    pub(super) program: &'a Path,
    pub(super) origin: &'a Origin,
    pub(super) log: LogTarget,
    pub(super) tokens: Tokens,
    /// Room for so many clients.
    pub(super) connections: usize,
}

pub(super) fn launch(directory: &Path, plan: &Plan<'_>) -> Result<Launch> {
    let [listen] = free_addresses()?;
    let path = directory.join("haproxy.cfg");
    fs::write(&path, config(listen, plan))?;
    let mut command = Command::new(plan.program);
    // In the foreground, without a master. Not `-q`: it closes the standard output that a log may go to.
    command.arg("-db").arg("-f").arg(&path);
    Ok(Launch { command, listen, stdout: None })
}

fn config(listen: SocketAddr, plan: &Plan<'_>) -> String {
    let server = match plan.origin {
        Origin::Tcp(address) => address.to_string(),
        Origin::Unix(path) => format!("unix@{}", path.display()),
    };
    let connections = plan.connections;
    let target = match &plan.log {
        LogTarget::Off => String::new(),
        LogTarget::Stdout => "log stdout format raw local0 info".to_owned(),
        LogTarget::Ring(_) => "log ring@access local0 info".to_owned(),
        LogTarget::Datagram(path) => format!("log {} format raw local0 info", path.display()),
    };
    let logging = if target.is_empty() {
        ""
    } else {
        r#"log global
  log-format '{"ts":"%tr","region":"us-east","method":"%HM","path":"%HPO","status":%ST,"served_by":"%b/%s","client":"%ci","duration_ms":%Ta,"upstream_ms":%Tr,"bytes_in":%U,"bytes_out":%B,"protocol":"%HV"}'"#
    };
    let mut config = format!(
        "global
  nbthread 1
  maxconn {connections}
  {target}
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  http-reuse always
  option dontlognull
  {logging}
frontend edge
  bind {listen}
"
    );
    config.push_str(&verification(&plan.tokens));
    write!(
        config,
        "  default_backend api
backend api
  server one {server}
"
    )
    .expect("a String takes all");
    if let LogTarget::Ring(receiver) = plan.log {
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

fn verification(tokens: &Tokens) -> String {
    let (Tokens::SignatureOnly(key) | Tokens::Whole(key)) = tokens else { return String::new() };
    let claims = match tokens {
        Tokens::Whole(_) => format!(
            "  http-request set-var(txn.iss) var(txn.bearer),jwt_payload_query('$.iss')
  http-request set-var(txn.aud) var(txn.bearer),jwt_payload_query('$.aud')
  http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 unless {{ var(txn.iss) -m str {ISSUER} }}
  http-request deny deny_status 401 unless {{ var(txn.aud) -m str {AUDIENCE} }}
  http-request deny deny_status 401 unless {{ var(txn.exp),sub(txn.now) -m int gt 0 }}
"
        ),
        _ => String::new(),
    };
    format!(
        "  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str RS256 }}
{claims}  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.alg,\"{key}\") -m int 1 }}
",
        key = key.display()
    )
}
