//! One issuer's keys, in `[token]` itself or in a `[[token.issuers]]`, and the policy they make.

use std::time::Duration;

use crate::auth::{
    Algorithm, ClaimNames, ClaimPath, HmacSecret, Introspection, IssuerPolicy, KeySource, PolicyFault,
    RequiredClaims, Verifier,
};

use super::introspection::introspection;
use super::key_path::KeyPath;
use super::reader::{Reader, Text};
use super::section::Section;
use super::suggest::one_of;
use super::written::Bounds;

const LEEWAY: Bounds = Bounds { least: 0, most: 86_400, unit: "seconds" };
/// Clocks differ by less; more only keeps expired tokens alive.
const GENEROUS_LEEWAY_S: u64 = 300;

/// The keys of one issuer.
pub(super) struct IssuerKeys {
    pub(super) path: KeyPath,
    pub(super) issuer: Option<Text>,
    pub(super) keys: Option<KeySource>,
    /// Keys are written, or introspection is, which does without.
    pub(super) has_keys: bool,
    introspection: Option<Introspection>,
    audiences: Option<Vec<String>>,
    algorithms: Option<Vec<Algorithm>>,
    require: Option<RequiredClaims>,
    leeway_s: Option<u64>,
    jurisdiction: Option<ClaimPath>,
    subject: Option<ClaimPath>,
}

/// What stands for a key an issuer leaves out.
#[derive(Clone, Copy)]
pub(super) enum Else {
    Default,
    FromToken,
}

impl Else {
    pub(super) fn default<T>(self, default: T) -> Option<T> {
        matches!(self, Self::Default).then_some(default)
    }
}

impl IssuerKeys {
    pub(super) fn read(section: &Section<'_>, left_out: Else) -> Self {
        let reader = section.reader;
        let issuer = section.text("issuer", "the exact `iss`");
        let audiences = section.texts("audience", "a string or a list of strings", None);
        if audiences.as_ref().is_some_and(Vec::is_empty) {
            let remedy = "name the audiences, or leave the key out";
            reader.error(
                &section.path("audience"),
                "names none: no token would be meant for this API",
                remedy,
            );
        }
        let jwks = section.text("jwks", "an https URL, or `file:` and a path");
        let secret = section.secret("hs256_secret", 32);
        if section.has("jwks") && section.has("hs256_secret") {
            let what = "has a shared secret beside jwks; an issuer signs with one or the other";
            reader.error(&section.path("hs256_secret"), what, "keep one, or write two [[token.issuers]]");
        }
        let secret = secret.map(|secret| {
            KeySource::Secret(
                HmacSecret::new(secret.expose()).expect("its length was checked against the same bound"),
            )
        });
        let introspection = introspection(section, left_out);
        let has_keys = section.has("jwks") || section.has("hs256_secret");
        let none = (!has_keys && introspection.is_some()).then_some(KeySource::None);
        let leeway_s = section.number_else("leeway_s", left_out.default(0), LEEWAY);
        if leeway_s.is_some_and(|leeway| leeway > GENEROUS_LEEWAY_S) {
            let what =
                format!("is more than {GENEROUS_LEEWAY_S} s: expired tokens are accepted for that long");
            reader.warning(&section.path("leeway_s"), what, "write what clocks may differ, such as 30");
        }
        Self {
            path: section.here().clone(),
            issuer,
            keys: jwks.and_then(|jwks| key_source(reader, &jwks)).or(secret).or(none),
            has_keys: has_keys || section.has("introspection"),
            introspection,
            audiences: audiences.map(|list| list.into_iter().map(|text| text.value).collect()),
            algorithms: algorithms(section, left_out),
            require: required(section),
            leeway_s,
            jurisdiction: claim(section, "jurisdiction_claim", left_out.default("region")),
            subject: claim(section, "subject_claim", left_out.default("sub")),
        }
    }

    /// What is left out is taken from `[token]`, then from the defaults. `None`: it has no keys, which was noted.
    pub(super) fn policy(&self, inline: &Self, reader: &Reader<'_>) -> Option<IssuerPolicy> {
        let keys = self.keys.clone()?;
        let algorithms = match keys {
            KeySource::Secret(_) => self.algorithms.clone().unwrap_or_else(|| vec![Algorithm::Hs256]),
            KeySource::None => self.algorithms.clone().unwrap_or_default(),
            KeySource::Url(_) | KeySource::File(_) => {
                let written = self.algorithms.as_ref().or(inline.algorithms.as_ref());
                written.cloned().unwrap_or_else(|| Algorithm::DEFAULT.to_vec())
            }
        };
        let audiences = self.audiences.as_ref().or(inline.audiences.as_ref()).cloned().unwrap_or_default();
        let expected =
            RequiredClaims { iss: self.issuer.is_some(), aud: !audiences.is_empty(), exp: true, nbf: false };
        let required = self.require.or(inline.require).unwrap_or(expected);
        let lax = [
            (!required.exp, "exp", "tokens that never expire are accepted"),
            (expected.aud && !required.aud, "aud", "tokens that name no audience are accepted"),
            (expected.iss && !required.iss, "iss", "tokens that name no issuer are accepted"),
        ];
        for (_, claim, what) in lax.into_iter().filter(|(lax, ..)| *lax) {
            let path = if self.require.is_some() { &self.path } else { &inline.path };
            reader.warning(&path.key("require"), what, format!("add \"{claim}\""));
        }
        let name_of = |own: &Option<ClaimPath>, shared: &Option<ClaimPath>, default| {
            own.as_ref().or(shared.as_ref()).cloned().unwrap_or_else(|| claim_path(default))
        };
        Some(IssuerPolicy {
            issuer: self.issuer.as_ref().map(|text| text.value.clone()),
            audiences,
            algorithms,
            keys,
            required,
            leeway: Duration::from_secs(self.leeway_s.or(inline.leeway_s).unwrap_or(0)),
            introspection: self.introspection.clone(),
            claims: ClaimNames {
                jurisdiction: name_of(&self.jurisdiction, &inline.jurisdiction, "region"),
                subject: name_of(&self.subject, &inline.subject, "sub"),
            },
        })
    }
}

pub(super) fn key_source(reader: &Reader<'_>, jwks: &Text) -> Option<KeySource> {
    if jwks.value.starts_with("file:") {
        return reader.path_after("file:", jwks).map(KeySource::File);
    }
    let url = jwks.value.parse::<http::Uri>().ok();
    let host = url.as_ref().and_then(http::Uri::host).unwrap_or_default();
    let loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    if url.as_ref().and_then(http::Uri::scheme_str) == Some("http") && !loopback {
        let what = "is fetched over http: whoever is on the way can put in keys of their own";
        reader.warning(&jwks.path, what, "write https://…, or file:/…");
    }
    Some(KeySource::Url(jwks.value.clone()))
}

/// Lays what the verifier would refuse to the key that caused it.
pub(super) fn policy_faults(issuers: &[IssuerPolicy], paths: &[KeyPath], reader: &Reader<'_>) {
    if issuers.is_empty() {
        return;
    }
    let Err(faults) = Verifier::new(issuers.to_vec(), None) else { return };
    let at = |index: usize| paths.get(index).cloned().unwrap_or_default();
    for fault in faults {
        match fault {
            // What has neither keys nor introspection is noted where it is read.
            PolicyFault::NoIssuer | PolicyFault::NothingToGoBy { index: _ } => {}
            PolicyFault::DuplicateIssuer(name) => {
                let same = |policy: &&IssuerPolicy| policy.issuer.as_ref() == Some(&name);
                let last = issuers.iter().rposition(|policy| same(&policy)).unwrap_or_default();
                let what = "is the name of another issuer too";
                reader.error(
                    &at(last).key("issuer"),
                    what,
                    "give each issuer once; `jwks` may hold several keys",
                );
            }
            PolicyFault::UnnamedAmongOthers { index } => {
                let what = "is missing; only a single issuer may go without a name";
                reader.error(
                    &at(index).key("issuer"),
                    what,
                    "write issuer = \"https://…\", the tokens' `iss`",
                );
            }
            PolicyFault::EmptyName { index } => {
                reader.error(&at(index), "has an empty issuer or audience", "write it, or leave the key out");
            }
            PolicyFault::NoAlgorithm { index } => {
                let remedy = "write one or more, such as [\"RS256\"], or leave the key out";
                reader.error(&at(index).key("algorithms"), "allows no algorithm", remedy);
            }
            PolicyFault::AlgorithmWithoutKey { index, algorithm } => {
                let what = format!("{algorithm} can't be verified with this issuer's keys");
                let remedy = "HS256 goes with hs256_secret and nothing else, all others with jwks";
                reader.error(&at(index).key("algorithms"), what, remedy);
            }
            PolicyFault::BadUrl { index, url: _ } => {
                let what = "is no http or https URL with a host and without a user";
                reader.error(&jwks_path(reader, &at(index)), what, "write https://host/path, or file:/path");
            }
            PolicyFault::SeveralIntrospect { index } => {
                let what = "is another issuer's too: a token that names no issuer could be either's";
                let remedy = "keep one introspecting issuer; the others' tokens must be JWTs";
                reader.error(&at(index).key("introspection"), what, remedy);
            }
            PolicyFault::IntrospectionBesideSecret { index } => {
                let what = "stands beside hs256_secret: whoever shares the secret has no one to ask";
                reader.error(&at(index).key("introspection"), what, "keep one of the two");
            }
            PolicyFault::BadIntrospectionUrl { index } => {
                let what = "is no https URL with a host and without a user: tokens are sent there";
                let remedy =
                    "write https://host/path (http only on loopback), and client_id and client_secret";
                reader.error(&at(index).key("introspection"), what, remedy);
            }
        }
    }
}

/// The issuer's `jwks`, which for the inline one may be the short form.
fn jwks_path(reader: &Reader<'_>, issuer: &KeyPath) -> KeyPath {
    let short = KeyPath::of(["jwks"]);
    let is_short = issuer.steps().len() == 1 && reader.is_written(&short);
    if is_short { short } else { issuer.key("jwks") }
}

fn algorithms(section: &Section<'_>, left_out: Else) -> Option<Vec<Algorithm>> {
    let default =
        format!("[{}]", Algorithm::DEFAULT.map(|algorithm| format!("{:?}", algorithm.name())).join(", "));
    let texts = section.texts("algorithms", "a list of JWS algorithms", left_out.default(&default))?;
    let known = |text: &Text| {
        let parsed = text.value.parse().ok();
        if parsed.is_none() {
            let what = format!("{} is no algorithm that is verified here", text.shown());
            let names = Algorithm::ALL.map(Algorithm::name);
            section.reader.error(&text.path, what, one_of(&text.value, names));
        }
        parsed
    };
    // With one unknown the list isn't what was meant; the rest would only cause faults that follow.
    let all: Vec<Option<Algorithm>> = texts.iter().map(known).collect();
    all.into_iter().collect()
}

fn required(section: &Section<'_>) -> Option<RequiredClaims> {
    let mut required = RequiredClaims { iss: false, aud: false, exp: false, nbf: false };
    for text in section.texts("require", "a list of iss, aud, exp, nbf", None)? {
        match text.value.as_str() {
            "iss" => required.iss = true,
            "aud" => required.aud = true,
            "exp" => required.exp = true,
            "nbf" => required.nbf = true,
            _ => {
                let what = format!("{} is no claim that can be required", text.shown());
                section.reader.error(&text.path, what, one_of(&text.value, ["iss", "aud", "exp", "nbf"]));
            }
        }
    }
    Some(required)
}

fn claim(section: &Section<'_>, key: &'static str, default: Option<&str>) -> Option<ClaimPath> {
    let text = section.text_else(key, "a claim's name, or a dotted path to it", default)?;
    let path = ClaimPath::new(text.value.as_str());
    if let Err(fault) = &path {
        section.reader.error(&text.path, fault.to_string(), "write the claim's name in the token");
    }
    path.ok()
}

fn claim_path(name: &str) -> ClaimPath {
    ClaimPath::new(name).expect("a short word without dots")
}
