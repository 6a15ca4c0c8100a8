//! The header names that mean something here.

/// A header's name, as far as the gateway has a use for it. Anything else passes through as [`Name::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Name {
    Other,
    Accept,
    AccessControl,
    Authorization,
    Connection,
    ContentLength,
    ContentType,
    Cookie,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    Origin,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    /// Anything that begins with `residency-`.
    Residency,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    /// Another one that begins with `x-forwarded-`.
    XForwarded,
    /// A spelling with `_` of a name that decides about framing, identity or the host: some servers take it for the
    /// real one (CGI, WSGI), others don't.
    Alias,
}

impl Name {
    /// Looks at length and first letter first: most names are none of ours.
    pub fn of(name: &[u8]) -> Self {
        let Some(first) = name.first() else { return Self::Other };
        let known = match (name.len(), first | 0x20) {
            (2, b't') => (&b"te"[..], Self::Te),
            (4, b'h') => (&b"host"[..], Self::Host),
            (6, b'a') => (&b"accept"[..], Self::Accept),
            (6, b'c') => (&b"cookie"[..], Self::Cookie),
            (6, b'e') => (&b"expect"[..], Self::Expect),
            (6, b'o') => (&b"origin"[..], Self::Origin),
            (7, b't') => (&b"trailer"[..], Self::Trailer),
            (7, b'u') => (&b"upgrade"[..], Self::Upgrade),
            (9, b'f') => (&b"forwarded"[..], Self::Forwarded),
            (10, b'c') => (&b"connection"[..], Self::Connection),
            (10, b'k') => (&b"keep-alive"[..], Self::KeepAlive),
            (12, b'c') => (&b"content-type"[..], Self::ContentType),
            (13, b'a') => (&b"authorization"[..], Self::Authorization),
            (14, b'c') => (&b"content-length"[..], Self::ContentLength),
            (14, b'h') => (&b"http2-settings"[..], Self::Http2Settings),
            (15, b'x') => (&b"x-forwarded-for"[..], Self::XForwardedFor),
            (16, b'p') => (&b"proxy-connection"[..], Self::ProxyConnection),
            (16, b'x') => (&b"x-forwarded-host"[..], Self::XForwardedHost),
            (17, b't') => (&b"transfer-encoding"[..], Self::TransferEncoding),
            (17, b'x') => (&b"x-forwarded-proto"[..], Self::XForwardedProto),
            (18, b'p') => (&b"proxy-authenticate"[..], Self::ProxyAuthenticate),
            (19, b'p') => (&b"proxy-authorization"[..], Self::ProxyAuthorization),
            (_, b'r') => (&b"residency-"[..], Self::Residency),
            (_, b'a') => (&b"access-control-"[..], Self::AccessControl),
            (_, b'x') => (&b"x-forwarded-"[..], Self::XForwarded),
            _ => return Self::Other,
        };
        let (text, found) = known;
        let by_prefix = text.ends_with(b"-");
        if by_prefix && name.len() < text.len() {
            return Self::Other;
        }
        if name[..text.len()].eq_ignore_ascii_case(text) {
            return found;
        }
        // Rare: something else, another `x-forwarded-…`, or a spelling with `_`.
        match found {
            _ if is_spelling_of(&name[..text.len()], text) => found.spelt_with_underscores(),
            Self::XForwardedFor | Self::XForwardedHost | Self::XForwardedProto => {
                let prefix = &b"x-forwarded-"[..];
                if is_spelling_of(&name[..prefix.len()], prefix) { Self::XForwarded } else { Self::Other }
            }
            _ => Self::Other,
        }
    }

    const fn spelt_with_underscores(self) -> Self {
        match self {
            Self::Residency | Self::Forwarded => self,
            Self::XForwarded | Self::XForwardedFor | Self::XForwardedHost | Self::XForwardedProto => {
                Self::XForwarded
            }
            Self::AccessControl => Self::Other,
            _ => Self::Alias,
        }
    }
}

/// Equal but for case and for `_` in place of `-`. `text` is in lower case.
fn is_spelling_of(name: &[u8], text: &[u8]) -> bool {
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.iter().map(plain).eq(text.iter().copied())
}
