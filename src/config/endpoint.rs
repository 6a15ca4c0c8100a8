//! Endpoints: where an upstream listens, and which HTTP it speaks there.
//!
//! `host:port` and `unix:/path` speak HTTP/1.1. `h2c://host:port` and `h2c+unix:/path` speak HTTP/2 from the first byte, without
//! TLS and without asking (prior knowledge, RFC 9113 §3.3): gRPC servers know nothing else.
//!
//! Absent by design: names are not looked up and sockets not looked for; both may come and go while the gateway runs.

use std::fmt;
use std::path::Path;

/// `sun_path` of a unix socket's address has 108 bytes on Linux, the last of them a zero.
const MOST_SOCKET_BYTES: usize = 107;

/// Prefixes, with what they say. No prefix: TCP and HTTP/1.1.
const SCHEMES: [(&str, UpstreamProtocol, Transport); 3] = [
    ("unix:", UpstreamProtocol::Http1, Transport::Unix),
    ("h2c+unix:", UpstreamProtocol::Http2, Transport::Unix),
    ("h2c://", UpstreamProtocol::Http2, Transport::Tcp),
];

/// An endpoint as written, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    written: Box<str>,
    /// Where the address begins in `written`.
    start: usize,
    protocol: UpstreamProtocol,
    transport: Transport,
}

/// What is spoken on a connection to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UpstreamProtocol {
    Http1,
    /// From the first byte, without TLS.
    Http2,
}

/// Where it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointAddress<'endpoint> {
    /// `host:port`, the host a name or an address; an IPv6 address is in brackets.
    Tcp(&'endpoint str),
    /// An absolute path, short enough for a socket's address.
    Unix(&'endpoint Path),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Transport {
    Tcp,
    Unix,
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointFault {
    #[error("is no `host:port`")]
    Address,
    #[error("is no absolute path of a socket")]
    SocketPath,
    #[error("has a path of {0} bytes; a socket's has at most {MOST_SOCKET_BYTES}")]
    SocketPathTooLong(usize),
}

impl Endpoint {
    pub fn parse(text: &str) -> Result<Self, EndpointFault> {
        let scheme = SCHEMES.iter().find(|(prefix, ..)| text.starts_with(prefix));
        let &(prefix, protocol, transport) = scheme.unwrap_or(&("", UpstreamProtocol::Http1, Transport::Tcp));
        let address = &text[prefix.len()..];
        match transport {
            Transport::Tcp if !is_host_and_port(address) => Err(EndpointFault::Address),
            Transport::Unix if !address.starts_with('/') || address.contains(char::is_control) => {
                Err(EndpointFault::SocketPath)
            }
            Transport::Unix if address.len() > MOST_SOCKET_BYTES => {
                Err(EndpointFault::SocketPathTooLong(address.len()))
            }
            _ => Ok(Self { written: text.into(), start: prefix.len(), protocol, transport }),
        }
    }

    pub fn protocol(&self) -> UpstreamProtocol {
        self.protocol
    }

    pub fn address(&self) -> EndpointAddress<'_> {
        let address = &self.written[self.start..];
        match self.transport {
            Transport::Tcp => EndpointAddress::Tcp(address),
            Transport::Unix => EndpointAddress::Unix(Path::new(address)),
        }
    }

    /// As it was written: what logs and metrics show.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Nothing but `host:port`.
    pub fn is_plain(&self) -> bool {
        self.start == 0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.written)
    }
}

fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_fits =
        !host.is_empty() && !host.contains(['/', '@', ' ', '?', '#']) && (bracketed || !host.contains(':'));
    host_fits && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_says_where_and_what() {
        use EndpointAddress::{Tcp, Unix};
        use UpstreamProtocol::{Http1, Http2};
        for (text, protocol, address, plain) in [
            ("10.1.0.11:3000", Http1, Tcp("10.1.0.11:3000"), true),
            ("[fd00::12]:3000", Http1, Tcp("[fd00::12]:3000"), true),
            ("api.internal:80", Http1, Tcp("api.internal:80"), true),
            ("unix:/run/api.sock", Http1, Unix(Path::new("/run/api.sock")), false),
            ("h2c://10.1.0.11:50051", Http2, Tcp("10.1.0.11:50051"), false),
            ("h2c://[::1]:50051", Http2, Tcp("[::1]:50051"), false),
            ("h2c+unix:/run/grpc.sock", Http2, Unix(Path::new("/run/grpc.sock")), false),
        ] {
            let endpoint = Endpoint::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert_eq!((endpoint.protocol(), endpoint.address()), (protocol, address), "{text}");
            assert_eq!((endpoint.as_str(), endpoint.is_plain()), (text, plain), "{text}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_told_apart() {
        use EndpointFault::{Address, SocketPath, SocketPathTooLong};
        let path = |length: usize| format!("unix:/{}", "a".repeat(length - 1));
        assert!(Endpoint::parse(&path(MOST_SOCKET_BYTES)).is_ok());
        for (text, fault) in [
            ("", Address),
            ("10.1.0.11", Address),
            ("10.1.0.11:0", Address),
            ("10.1.0.11:65536", Address),
            ("http://10.1.0.11:3000", Address),
            ("https://10.1.0.11", Address),
            ("fd00::12:3000", Address),
            (":3000", Address),
            ("a b:3000", Address),
            ("h2c://", Address),
            ("h2c://10.1.0.11:50051/path", Address),
            ("h2c:10.1.0.11:50051", Address),
            ("unix:", SocketPath),
            ("unix:3000", SocketPath),
            ("unix:run/api.sock", SocketPath),
            ("unix:/run/a\0b", SocketPath),
            ("h2c+unix:api.sock", SocketPath),
            (&path(MOST_SOCKET_BYTES + 1), SocketPathTooLong(MOST_SOCKET_BYTES + 1)),
        ] {
            assert_eq!(Endpoint::parse(text), Err(fault), "{text}");
        }
    }
}
