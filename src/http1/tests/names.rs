use proptest::prelude::*;

use crate::http1::name::Name;

/// Every name that has one of its own.
const KNOWN: &[(&str, Name)] = &[
    ("authorization", Name::Authorization),
    ("connection", Name::Connection),
    ("content-length", Name::ContentLength),
    ("content-type", Name::ContentType),
    ("cookie", Name::Cookie),
    ("expect", Name::Expect),
    ("forwarded", Name::Forwarded),
    ("host", Name::Host),
    ("http2-settings", Name::Http2Settings),
    ("keep-alive", Name::KeepAlive),
    ("origin", Name::Origin),
    ("proxy-authenticate", Name::ProxyAuthenticate),
    ("proxy-authorization", Name::ProxyAuthorization),
    ("proxy-connection", Name::ProxyConnection),
    ("te", Name::Te),
    ("trailer", Name::Trailer),
    ("transfer-encoding", Name::TransferEncoding),
    ("upgrade", Name::Upgrade),
    ("x-forwarded-for", Name::XForwardedFor),
    ("x-forwarded-host", Name::XForwardedHost),
    ("x-forwarded-proto", Name::XForwardedProto),
];

/// What a name is, said slowly.
fn slowly(name: &[u8]) -> Name {
    let lower = name.to_ascii_lowercase();
    let dashed: Vec<u8> = lower.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect();
    let known = |name: &[u8]| KNOWN.iter().find(|(text, _)| text.as_bytes() == name).map(|(_, found)| *found);
    if let Some(found) = known(&lower) {
        return found;
    }
    if dashed.starts_with(b"residency-") {
        return Name::Residency;
    }
    if dashed.starts_with(b"x-forwarded-") {
        return Name::XForwarded;
    }
    known(&dashed).map_or(Name::Other, |_| Name::Alias)
}

#[test]
fn names_are_known_in_any_spelling_of_their_letters() {
    for (text, name) in KNOWN {
        assert_eq!(Name::of(text.as_bytes()), *name, "{text}");
        assert_eq!(Name::of(text.to_ascii_uppercase().as_bytes()), *name, "{text}");
        let mixed: String = text
            .chars()
            .enumerate()
            .map(|(index, letter)| if index % 2 == 0 { letter.to_ascii_uppercase() } else { letter })
            .collect();
        assert_eq!(Name::of(mixed.as_bytes()), *name, "{mixed}");
    }
}

#[test]
fn a_spelling_with_underscores_is_never_a_stranger() {
    for (text, name) in KNOWN.iter().filter(|(text, _)| text.contains('-')) {
        let expected = match name {
            Name::XForwardedFor | Name::XForwardedHost | Name::XForwardedProto => Name::XForwarded,
            _ => Name::Alias,
        };
        for spelt in
            [text.replace('-', "_"), text.replacen('-', "_", 1), text.replace('-', "_").to_uppercase()]
        {
            assert_eq!(Name::of(spelt.as_bytes()), expected, "{spelt}");
        }
    }
    for spelt in ["residency_subject", "Residency_Hop", "residency-x_y", "RESIDENCY_", "residency-"] {
        assert_eq!(Name::of(spelt.as_bytes()), Name::Residency, "{spelt}");
    }
}

#[test]
fn neighbours_of_a_name_are_others() {
    for (text, _) in KNOWN.iter().filter(|(text, _)| !text.starts_with("x-forwarded-")) {
        let (longer, shifted) = (format!("{text}s"), format!("x{text}"));
        for near in [&text[1..], &text[..text.len() - 1], longer.as_str(), shifted.as_str()] {
            assert_eq!(Name::of(near.as_bytes()), Name::Other, "{near}");
        }
    }
    for (text, name) in [
        ("", Name::Other),
        ("t", Name::Other),
        ("residency", Name::Other),
        ("residenc", Name::Other),
        ("residencys-x", Name::Other),
        ("access-control", Name::Other),
        ("access_control_allow_origin", Name::Other),
        ("Access-Control-Allow-Origin", Name::Other),
        ("x-forwarded", Name::Other),
        ("x-forwarded-", Name::XForwarded),
        ("x-forwarded-port", Name::XForwarded),
        ("x-forwarded-forx", Name::XForwarded),
        ("x-request-id", Name::Other),
        ("range", Name::Other),
    ] {
        assert_eq!(Name::of(text.as_bytes()), name, "{text}");
    }
}

proptest! {
    /// Comparing quickly finds what comparing slowly does, for whatever may be a name.
    #[test]
    fn a_name_is_what_it_is_slowly(
        known in prop::sample::select(KNOWN),
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[!#$%&'*+.^_`|~0-9A-Za-z-]"), 0..3),
        tail in "[-_a-zA-Z]{0,3}",
    ) {
        let mut name = known.0.as_bytes().to_vec();
        for (place, byte) in changes {
            let place = place.index(name.len());
            name[place] = byte.as_bytes()[0];
        }
        name.extend(tail.bytes());
        prop_assert_eq!(Name::of(&name), slowly(&name));
    }
}
