//! libpq URLs, read as libpq reads them where TLS is concerned.
//!
//! The driver knows neither `verify-ca` and `verify-full` nor certificate files, and treats what it does not know as
//! an error that may quote a badly escaped password. So the TLS parameters are taken out here, and faults name
//! parameters only from a fixed list.

use std::{fmt, path::PathBuf, str::FromStr};

use percent_encoding::percent_decode_str;
use tokio_postgres::config::{Host, SslMode};

/// Where a database is, who asks, and how far its certificate is checked. `Debug` and faults show no password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    pub(super) config: tokio_postgres::Config,
    pub(super) check: Check,
    pub(super) roots: Option<PathBuf>,
    pub(super) client_certificate: Option<(PathBuf, PathBuf)>,
    pub(super) address: String,
}

/// How far the server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Not at all: `disable`, `allow`, `prefer`, `require`.
    Nothing,
    /// It must come from a trusted authority: `verify-ca`, and `require` with `sslrootcert`, as in libpq.
    Issuer,
    /// … and name the host: `verify-full`.
    IssuerAndName,
}

/// Why a URL can't be used. Never quotes the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    #[error("not a database URL: expected postgres://user:password@host:port/database")]
    Scheme,
    #[error(
        "malformed: percent-encode reserved characters in user and password, and give each parameter a value"
    )]
    Malformed,
    #[error("exactly one host is needed: this is one region's own database, not a list to choose from")]
    Hosts,
    #[error("`{0}` is not supported in database URLs; leave it out")]
    Unsupported(&'static str),
    #[error("a parameter is unknown")]
    UnknownParameter,
    #[error("sslmode must be disable, allow, prefer, require, verify-ca or verify-full")]
    SslMode,
    #[error("sslmode={0} needs sslrootcert, the file of the authority to trust (or sslmode=verify-full)")]
    RootNeeded(&'static str),
    #[error("sslcert and sslkey go together")]
    ClientCertificate,
}

/// Without effect here.
const IGNORED: [&str; 6] =
    ["gssencmode", "krbsrvname", "sslcompression", "sslsni", "client_encoding", "fallback_application_name"];
/// With an effect that would be missed.
const UNSUPPORTED: [&str; 9] = [
    "target_session_attrs",
    "load_balance_hosts",
    "sslcrl",
    "sslcrldir",
    "sslpassword",
    "requiressl",
    "passfile",
    "service",
    "require_auth",
];
/// The driver's own.
const DRIVER: [&str; 16] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "channel_binding",
    "sslnegotiation",
];

impl DatabaseUrl {
    /// Host, port and database name: enough to know which database is meant.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl FromStr for DatabaseUrl {
    type Err = UrlFault;

    fn from_str(url: &str) -> Result<Self, UrlFault> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
        let rest = rest.ok_or(UrlFault::Scheme)?;
        // As the driver and libpq do: credentials end at the first `@`, parameters start at the first `?` after it.
        let after_credentials = rest.find('@').map_or(0, |at| at + 1);
        let (base, query) = match rest[after_credentials..].find('?') {
            Some(mark) => rest.split_at(after_credentials + mark),
            None => (rest, ""),
        };
        let mut tls = TlsParameters::default();
        let mut kept = Vec::new();
        for parameter in query.trim_start_matches('?').split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or(UrlFault::Malformed)?;
            if let Some(name) = UNSUPPORTED.into_iter().find(|unsupported| *unsupported == name) {
                return Err(UrlFault::Unsupported(name));
            }
            let decoded = || percent_decode_str(value).decode_utf8().map_err(|_| UrlFault::Malformed);
            match name {
                "sslmode" => tls.mode = Some(decoded()?.into_owned()),
                "sslrootcert" => tls.roots = Some(decoded()?.into_owned()),
                "sslcert" => tls.certificate = Some(decoded()?.into_owned().into()),
                "sslkey" => tls.key = Some(decoded()?.into_owned().into()),
                name if IGNORED.contains(&name) => {}
                name if DRIVER.contains(&name) => kept.push(parameter),
                _ => return Err(UrlFault::UnknownParameter),
            }
        }
        let mut config: tokio_postgres::Config =
            format!("postgres://{base}?{}", kept.join("&")).parse().map_err(|_| UrlFault::Malformed)?;
        let address = address(&config)?;
        let (mode, check, roots) = tls.mode()?;
        config.ssl_mode(mode);
        let client_certificate = match (tls.certificate, tls.key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(UrlFault::ClientCertificate),
        };
        Ok(Self { config, check, roots, client_certificate, address })
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseUrl")
            .field("address", &self.address)
            .field("check", &self.check)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct TlsParameters {
    mode: Option<String>,
    roots: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl TlsParameters {
    /// What libpq makes of them (its manual, "SSL Support"). `allow` is taken as `prefer`, which protects no
    /// less. `verify-full` without a file, like `sslrootcert=system`, trusts the system's authorities.
    fn mode(&self) -> Result<(SslMode, Check, Option<PathBuf>), UrlFault> {
        let system = self.roots.as_deref() == Some("system");
        let file = self.roots.as_ref().filter(|_| !system).map(PathBuf::from);
        match self.mode.as_deref() {
            Some("disable") => Ok((SslMode::Disable, Check::Nothing, None)),
            Some("verify-full") => Ok((SslMode::Require, Check::IssuerAndName, file)),
            None if system => Ok((SslMode::Require, Check::IssuerAndName, None)),
            None | Some("allow" | "prefer") => Ok((SslMode::Prefer, Check::Nothing, None)),
            // The system's authorities issue to anyone: without the name their word is worth nothing.
            Some("require") if system => Err(UrlFault::RootNeeded("require")),
            Some("require" | "verify-ca") if file.is_some() => Ok((SslMode::Require, Check::Issuer, file)),
            Some("require") => Ok((SslMode::Require, Check::Nothing, None)),
            Some("verify-ca") => Err(UrlFault::RootNeeded("verify-ca")),
            Some(_) => Err(UrlFault::SslMode),
        }
    }
}

pub(super) fn address(config: &tokio_postgres::Config) -> Result<String, UrlFault> {
    let host = match (config.get_hosts(), config.get_hostaddrs()) {
        ([Host::Tcp(host)], [] | [_]) if !host.is_empty() => host.clone(),
        ([Host::Unix(path)], []) => path.display().to_string(),
        ([], [address]) => address.to_string(),
        _ => return Err(UrlFault::Hosts),
    };
    let port = match config.get_ports() {
        [] => 5432,
        [port] => *port,
        _ => return Err(UrlFault::Hosts),
    };
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    Ok(format!("{host}:{port}/{database}"))
}
