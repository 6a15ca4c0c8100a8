//! How one issuer is asked about tokens that can't be verified here: `introspection` and the keys beside it.
//!
//! They make the issuer, as its keys do: a `[[token.issuers]]` takes none of them from `[token]`.

use std::time::Duration;

use crate::auth::{ClientCredentials, IntrospectedTokens, Introspection};
use crate::domain::secret::Secret;

use super::issuer::Else;
use super::reader::Text;
use super::section::Section;
use super::written::Bounds;

const TOKENS: [(&str, IntrospectedTokens); 2] =
    [("opaque", IntrospectedTokens::Opaque), ("all", IntrospectedTokens::All)];

const KEEP: Bounds = Bounds { least: 1, most: 86_400, unit: "seconds" };
const KEEP_REFUSED: Bounds = Bounds { least: 0, most: 300, unit: "seconds" };
const TIMEOUT: Bounds = Bounds { least: 10, most: 30_000, unit: "ms" };
const PER_SECOND: Bounds = Bounds { least: 1, most: 100_000, unit: "questions" };
/// Whoever withdraws a token expects it to stop working sooner.
const LONG_KEEP_S: u64 = 300;

/// All keys that need `introspection` beside them.
const DEPENDENT: [&str; 7] = [
    "client_id",
    "client_secret",
    "introspect",
    "introspection_cache_s",
    "introspection_negative_s",
    "introspection_timeout_ms",
    "introspection_per_s",
];

/// `None`: the issuer isn't asked, or how is noted as a fault.
pub(super) fn introspection(section: &Section<'_>, left_out: Else) -> Option<Introspection> {
    let url = section.text("introspection", "an https URL");
    let id = section.text("client_id", "a name the issuer knows this gateway by");
    let secret = section.secret("client_secret", 1);
    let tokens = section.choice("introspect", left_out.default("opaque"), &TOKENS);
    let number =
        |key, default, bounds| section.number_else(key, left_out.default(default), bounds).unwrap_or(default);
    let keep_s = number("introspection_cache_s", 60, KEEP);
    let keep_refused_s = number("introspection_negative_s", 10, KEEP_REFUSED);
    let timeout_ms = number("introspection_timeout_ms", 2_000, TIMEOUT);
    let per_second = number("introspection_per_s", 500, PER_SECOND);
    if !section.has("introspection") {
        for key in DEPENDENT.into_iter().filter(|key| section.has(key)) {
            let what = "needs introspection beside it: there is nobody to ask";
            section.reader.error(
                &section.path(key),
                what,
                "write introspection = \"https://…\", or leave it out",
            );
        }
        return None;
    }
    if keep_s > LONG_KEEP_S {
        let what = format!("is more than {LONG_KEEP_S} s: a withdrawn token is accepted for that long");
        let remedy = "write how long a withdrawal may take to be noticed, such as 60";
        section.reader.warning(&section.path("introspection_cache_s"), what, remedy);
    }
    let client = credentials(section, id, secret);
    Some(Introspection {
        url: url?.value,
        client,
        tokens: tokens.unwrap_or(IntrospectedTokens::Opaque),
        keep: Duration::from_secs(keep_s),
        keep_refused: Duration::from_secs(keep_refused_s),
        timeout: Duration::from_millis(timeout_ms),
        per_second: u32::try_from(per_second).expect("its bounds are far below 32 bits"),
    })
}

fn credentials(section: &Section<'_>, id: Option<Text>, secret: Option<Secret>) -> Option<ClientCredentials> {
    for (key, other) in [("client_id", "client_secret"), ("client_secret", "client_id")] {
        if section.has(key) && !section.has(other) {
            let what = format!("goes with {key}, and is missing");
            section.reader.error(&section.path(other), what, format!("write {other}, or leave {key} out"));
        }
    }
    Some(ClientCredentials { id: id?.value, secret: secret? })
}
