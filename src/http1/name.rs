//! The header names that mean something here.

/// A header's name, as far as the gateway has a use for it. Anything else passes through as [`Name::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Name {
    Other,
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
    /// Looks at length and first letter first: most names are none of ours, and the others are compared with one text, whose
    /// length the compiler knows.
    pub fn of(name: &[u8]) -> Self {
        let Some(first) = name.first() else { return Self::Other };
        match (name.len(), first | 0x20) {
            (2, b't') => exact(name, b"te", Self::Te),
            (4, b'h') => exact(name, b"host", Self::Host),
            (6, b'c') => exact(name, b"cookie", Self::Cookie),
            (6, b'e') => exact(name, b"expect", Self::Expect),
            (6, b'o') => exact(name, b"origin", Self::Origin),
            (7, b't') => exact(name, b"trailer", Self::Trailer),
            (7, b'u') => exact(name, b"upgrade", Self::Upgrade),
            (9, b'f') => exact(name, b"forwarded", Self::Forwarded),
            (10, b'c') => exact(name, b"connection", Self::Connection),
            (10, b'k') => exact(name, b"keep-alive", Self::KeepAlive),
            (12, b'c') => exact(name, b"content-type", Self::ContentType),
            (13, b'a') => exact(name, b"authorization", Self::Authorization),
            (14, b'c') => exact(name, b"content-length", Self::ContentLength),
            (14, b'h') => exact(name, b"http2-settings", Self::Http2Settings),
            (16, b'p') => exact(name, b"proxy-connection", Self::ProxyConnection),
            (17, b't') => exact(name, b"transfer-encoding", Self::TransferEncoding),
            (18, b'p') => exact(name, b"proxy-authenticate", Self::ProxyAuthenticate),
            (19, b'p') => exact(name, b"proxy-authorization", Self::ProxyAuthorization),
            (10.., b'r') => prefixed(name, b"residency-", Self::Residency),
            (12.., b'x') => match prefixed(name, b"x-forwarded-", Self::XForwarded) {
                Self::XForwarded if name.contains(&b'_') => Self::XForwarded,
                Self::XForwarded => match &name[b"x-forwarded-".len()..] {
                    rest if rest.eq_ignore_ascii_case(b"for") => Self::XForwardedFor,
                    rest if rest.eq_ignore_ascii_case(b"host") => Self::XForwardedHost,
                    rest if rest.eq_ignore_ascii_case(b"proto") => Self::XForwardedProto,
                    _ => Self::XForwarded,
                },
                other => other,
            },
            _ => Self::Other,
        }
    }

    const fn spelt_with_underscores(self) -> Self {
        match self {
            Self::Residency | Self::Forwarded | Self::XForwarded => self,
            _ => Self::Alias,
        }
    }
}

/// `found` if the name is `text`, which is in lower case.
fn exact<const LENGTH: usize>(name: &[u8], text: &[u8; LENGTH], found: Name) -> Name {
    prefixed(name, text, found)
}

/// `found` if the name begins with `text`, which is in lower case and has letters, digits and `-`. The name is a token:
/// setting the bit of lower case in those of its bytes that are no letters makes none of them one of the text's.
fn prefixed<const LENGTH: usize>(name: &[u8], text: &[u8; LENGTH], found: Name) -> Name {
    let Some(start) = name.first_chunk::<LENGTH>() else { return Name::Other };
    let mut difference = 0;
    for (byte, expected) in start.iter().zip(text) {
        difference |= (byte | 0x20) ^ expected;
    }
    if difference == 0 {
        return found;
    }
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    if start.iter().map(plain).eq(text.iter().copied()) {
        found.spelt_with_underscores()
    } else {
        Name::Other
    }
}
