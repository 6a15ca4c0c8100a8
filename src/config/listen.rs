//! `[listen]`, `[tls]` and `internal_tls`: the doors of the gateway and the certificates behind them.
//!
//! Which names certificates have is in their files, which are read later; two that claim the same name are found then.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::reader::{Reader, Text};
use super::section::Section;
use super::written::Bounds;
use super::{CertificateFiles, Endpoint, EndpointAddress, Listen, NamedCertificate, TlsSettings, TlsVersion};
use crate::tls::served_name;

const HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
const HTTPS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8443);
const INTERNAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7443);
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::V12), ("1.3", TlsVersion::V13)];

const ADDRESS: &str = "`address:port`, or \"off\"";
/// More threads than any machine has cores is a slip.
const WORKERS: Bounds = Bounds { least: 1, most: 1024, unit: "threads" };

/// The keys that decide where the gateway listens.
pub(super) struct ListenKeys {
    pub(super) listen: Listen,
    pub(super) tls: Option<TlsSettings>,
    pub(super) internal_tls: Option<PathBuf>,
}

/// What a listener's key says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    Default,
    Off,
    At(SocketAddr),
    /// Noted.
    Wrong,
}

impl ListenKeys {
    pub(super) fn read(root: &Section<'_>) -> Self {
        let internal_tls = root.path_after("internal_tls", "dir:");
        let listen = root.child("listen");
        let tls_keys = root.child("tls");
        let tls = tls(&tls_keys);
        let door = |key, default: Option<SocketAddr>| Door::read(&listen, key, default);

        let http = door("http", Some(HTTP));
        let https = door("https", None);
        if matches!(https, Door::At(_)) && !tls_keys.is_written() {
            let remedy = "write [tls] with certificate and key, or leave https out";
            root.reader.error(&listen.path("https"), "needs a certificate, and there is no [tls]", remedy);
        }
        let internal = door("internal", None);
        if matches!(internal, Door::At(_)) && !root.has("internal_tls") {
            let remedy = "write internal_tls = \"dir:/…\" (made by `residency-migrate pki init`)";
            root.reader.error(&listen.path("internal"), "needs internal_tls", remedy);
        }
        let keys = Self {
            listen: Listen {
                http: http.or(Some(HTTP)),
                https: https.or(tls.is_some().then_some(HTTPS)),
                internal: internal.or(internal_tls.is_some().then_some(INTERNAL)),
                admin: door("admin", Some(ADMIN)).or(Some(ADMIN)),
                workers: workers(&listen),
                http2: listen.flag("http2", true),
            },
            tls,
            internal_tls,
        };
        keys.collisions(&listen);
        let closed = keys.listen.http.is_none() && keys.listen.https.is_none();
        if closed && http == Door::Off && https != Door::Wrong {
            let remedy = "set listen.http or listen.https to an address";
            root.reader.error(listen.here(), "both http and https are off: no client can connect", remedy);
        }
        keys
    }

    /// Sending requests to itself a gateway would turn one into as many as it has connections.
    pub(super) fn loops(&self, reader: &Reader<'_>, path: &super::key_path::KeyPath, endpoint: &Endpoint) {
        // It listens on no unix socket.
        let EndpointAddress::Tcp(address) = endpoint.address() else { return };
        let Some((host, port)) = address.rsplit_once(':') else { return };
        let address: Option<IpAddr> = match host {
            "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            host => host.trim_matches(['[', ']']).parse().ok(),
        };
        let (Some(address), Ok(port)) = (address, port.parse::<u16>()) else { return };
        for (name, listener) in self.doors() {
            let same = listener.ip() == address || (listener.ip().is_unspecified() && address.is_loopback());
            if listener.port() == port && same {
                let what = format!("`{endpoint}` is the gateway itself (listen.{name})");
                reader.error(path, what, "write the address of the API, or let the gateway listen elsewhere");
            }
        }
    }

    fn doors(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let Listen { http, https, internal, admin, workers: _, http2: _ } = self.listen;
        [("http", http), ("https", https), ("internal", internal), ("admin", admin)]
            .into_iter()
            .filter_map(|(name, address)| Some((name, address?)))
    }

    fn collisions(&self, listen: &Section<'_>) {
        let doors: Vec<_> = self.doors().collect();
        for (index, (first, address)) in doors.iter().enumerate() {
            for (second, other) in &doors[index + 1..] {
                let anywhere = address.ip().is_unspecified() || other.ip().is_unspecified();
                if address.port() == other.port() && (address.ip() == other.ip() || anywhere) {
                    let key = if listen.has(second) { second } else { first };
                    let what = format!("{first} ({address}) and {second} ({other}) are on the same port");
                    listen.reader.error(&listen.path(key), what, "give one of them another port, or \"off\"");
                }
            }
        }
    }
}

impl Door {
    fn read(listen: &Section<'_>, key: &'static str, default: Option<SocketAddr>) -> Self {
        let default = default.map(|address| address.to_string());
        let text = listen.text_else(key, ADDRESS, default.as_deref());
        match text {
            None => Self::Default,
            Some(text) if text.value == "off" => Self::Off,
            Some(text) => match text.value.parse::<SocketAddr>() {
                Ok(address) if address.port() != 0 => Self::At(address),
                _ => {
                    let what = format!("{} is no address to listen on", text.shown());
                    listen.reader.error(&text.path, what, "write `0.0.0.0:8080`, `[::]:8080` or \"off\"");
                    Self::Wrong
                }
            },
        }
    }

    const fn or(self, default: Option<SocketAddr>) -> Option<SocketAddr> {
        match self {
            Self::Default => default,
            Self::Off | Self::Wrong => None,
            Self::At(address) => Some(address),
        }
    }
}

fn workers(listen: &Section<'_>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let written = listen.number_else("workers", None, WORKERS);
    written.map_or_else(cores, |workers| usize::try_from(workers).expect("at most 1024"))
}

fn tls(tls: &Section<'_>) -> Option<TlsSettings> {
    let default = certificate(tls, "[tls]");
    let others = tls.list("certificates").iter().map(named_certificate).collect::<Vec<_>>();
    let strict_sni = tls.flag("strict_sni", false);
    let min_version = tls.choice("min_version", Some("1.2"), &VERSIONS).unwrap_or(TlsVersion::V12);
    // One that is wrong is noted, and with it the whole can't be used.
    let others = others.into_iter().collect::<Option<_>>()?;
    Some(TlsSettings { default: default?, others, strict_sni, min_version })
}

fn named_certificate(entry: &Section<'_>) -> Option<NamedCertificate> {
    let files = certificate(entry, "each entry");
    let takes = "host names, a first label may be `*`; a list or a string";
    let names = entry.texts("names", takes, None).unwrap_or_default();
    let name = |text: &Text| {
        let name = served_name(&text.value);
        if name.is_none() {
            let what = format!("{} is no host name", text.shown());
            let remedy = "write `api.example.com`, or `*.example.com` for one label (IDNA names as `xn--…`)";
            entry.reader.error(&text.path, what, remedy);
        }
        name
    };
    let names = names.iter().map(name).collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>();
    Some(NamedCertificate { files: files?, names: names? })
}

fn certificate(section: &Section<'_>, whole: &str) -> Option<CertificateFiles> {
    let certificate = section.path_after("certificate", "file:");
    let key = section.path_after("key", "file:");
    if section.is_written() {
        for (name, what) in [("certificate", "chain.pem"), ("key", "key.pem")] {
            if !section.has(name) {
                section.missing(name, format!("write {name} = \"file:/…/{what}\"; {whole} needs both"));
            }
        }
    }
    Some(CertificateFiles { certificate: certificate?, key: key? })
}
