//! nginx as one sets it up for a small API: one worker, a kept upstream pool, a buffered JSON access log.
//!
//! The limits on requests a connection are raised out of reach, since closing after the default 1,000 would charge
//! nginx for reconnects that the others do not make. It adds no header of its own but `Host`. Over TLS it offers
//! HTTP/2 and HTTP/1.1 as the gateway does and TLS 1.3, which 1.22 must be told to; other defaults stay, session tickets
//! included.
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use nix::unistd::Uid;

use super::origin::Origin;
use super::process::{Launch, free_addresses};
use crate::certificate::Certificate;

pub(super) struct Plan<'a> {
    pub(super) program: &'a Path,
    pub(super) origin: &'a Origin,
    pub(super) access_log: Option<&'a Path>,
    pub(super) certificate: Option<&'a Certificate>,
    /// Room for so many connections, clients' and upstream's together.
    pub(super) connections: usize,
}

pub(super) fn launch(directory: &Path, plan: &Plan<'_>) -> Result<Launch> {
    let [listen] = free_addresses()?;
    let home = directory.display();
    // Started by root, workers would become `nobody`, who may not reach this directory.
    let user = if Uid::effective().is_root() { "user root;" } else { "" };
    let access_log = match plan.access_log {
        Some(path) => format!("access_log {} like buffer=64k flush=1s;", path.display()),
        None => "access_log off;".to_owned(),
    };
    let server = match plan.origin {
        Origin::Tcp(address) => address.to_string(),
        Origin::Unix(path) => format!("unix:{}", path.display()),
    };
    let (tls, certificate) = match plan.certificate {
        Some(files) => (
            " ssl http2",
            format!(
                "ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {}; ssl_certificate_key {};",
                files.chain.display(),
                files.key.display()
            ),
        ),
        None => ("", String::new()),
    };
    let connections = plan.connections;
    let config = format!(
        r#"{user}
worker_processes 1;
daemon off;
pid {home}/nginx.pid;
error_log stderr warn;
events {{ worker_connections {connections}; }}
http {{
  log_format like escape=json
    '{{"ts":"$time_iso8601","region":"us-east","method":"$request_method","path":"$uri","status":$status,'
    '"served_by":"$upstream_addr","client":"$remote_addr","duration_s":$request_time,'
    '"upstream_s":"$upstream_response_time","bytes_in":$request_length,"bytes_out":$bytes_sent,'
    '"protocol":"$server_protocol"}}';
  {access_log}
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 60s;
  upstream api {{
    server {server};
    keepalive 128;
    keepalive_requests 1000000000;
    keepalive_time 1d;
    keepalive_timeout 60s;
  }}
  server {{
    listen {listen}{tls};
    {certificate}
    location / {{
      proxy_pass http://api;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
    }}
  }}
}}
"#
    );
    let path = directory.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new(plan.program);
    command.arg("-c").arg(&path).arg("-p").arg(directory).arg("-e").arg("stderr");
    Ok(Launch { command, listen, stdout: None })
}
