//! `[token]`: who issues tokens, where requests carry them, and what a token without a usable claim means.
//!
//! One issuer may stand in `[token]` itself, others in `[[token.issuers]]`. Those take what they leave out from `[token]`,
//! except what makes an issuer: its name, its keys, and the algorithms of a shared secret.

use std::time::Duration;

use crate::auth::{CookieName, IssuerPolicy, TokenSource};

use super::issuer::{Else, IssuerKeys, key_source, policy_faults};
use super::key_path::KeyPath;
use super::reader::Text;
use super::section::Section;
use super::written::Bounds;

const CACHE: Bounds = Bounds { least: 0, most: 16_777_216, unit: "tokens" };
const REFRESH: Bounds = Bounds { least: 1, most: 86_400, unit: "seconds" };

/// `[token]` as far as it needs no topology.
pub(super) struct TokenKeys {
    pub(super) issuers: Vec<IssuerPolicy>,
    pub(super) from: Vec<TokenSource>,
    pub(super) cache_entries: usize,
    pub(super) jwks_refresh: Duration,
    /// A jurisdiction's name; `None` refuses.
    pub(super) on_missing: Option<Text>,
    pub(super) on_unknown: Option<Text>,
}

impl TokenKeys {
    /// `short_jwks` is the top level's `jwks`, which stands for `token.jwks`.
    pub(super) fn read(section: &Section<'_>, short_jwks: Option<&Text>) -> Self {
        let mut inline = IssuerKeys::read(section, Else::Default);
        let short = KeyPath::of(["jwks"]);
        let has_short = section.reader.is_written(&short);
        if has_short {
            if section.has("jwks") || section.has("hs256_secret") || section.has("issuers") {
                let what = "is the short form of token.jwks, and [token] says where keys come from too";
                section.reader.error(&short, what, "keep one of the two");
            }
            inline.has_keys = true;
            inline.keys = short_jwks.and_then(|jwks| key_source(section.reader, jwks));
        }
        let others: Vec<IssuerKeys> = section
            .list("issuers")
            .iter()
            .map(|section| IssuerKeys::read(section, Else::FromToken))
            .collect();
        let missing = |keys: &IssuerKeys| {
            let remedy =
                "write jwks = \"https://…/jwks.json\", or hs256_secret = \"env:NAME\", or introspection";
            section.reader.error(&keys.path.key("jwks"), "is missing", remedy);
        };
        let has_inline = inline.has_keys || inline.issuer.is_some();
        if !inline.has_keys && (inline.issuer.is_some() || (section.is_written() && others.is_empty())) {
            missing(&inline);
        }
        others.iter().filter(|other| !other.has_keys).for_each(missing);

        let mut paths = Vec::new();
        let mut issuers = Vec::new();
        for keys in has_inline.then_some(&inline).into_iter().chain(&others) {
            if let Some(policy) = keys.policy(&inline, section.reader) {
                paths.push(keys.path.clone());
                issuers.push(policy);
            }
        }
        policy_faults(&issuers, &paths, section.reader);
        if !section.is_written() && !has_short {
            let what = "no issuer is configured: every request counts as one without a token";
            section.reader.warning(section.here(), what, "write [token] with jwks = \"https://…\"");
        }
        Self {
            issuers,
            from: sources(section),
            cache_entries: section.size("cache_entries", 65_536, CACHE),
            jwks_refresh: Duration::from_secs(section.number("jwks_refresh_s", 300, REFRESH)),
            on_missing: fallback(section, "on_missing"),
            on_unknown: fallback(section, "on_unknown"),
        }
    }
}

fn sources(section: &Section<'_>) -> Vec<TokenSource> {
    let takes = "a list of `bearer` and `cookie:NAME`";
    let Some(texts) = section.texts("from", takes, Some("[\"bearer\"]")) else {
        return vec![TokenSource::Bearer];
    };
    if texts.is_empty() {
        section.reader.error(
            &section.path("from"),
            "names no place",
            format!("write {takes}, or leave it out"),
        );
    }
    let source = |text: &Text| {
        let (what, remedy) = match text.value.split_once(':') {
            None if text.value == "bearer" => return Some(TokenSource::Bearer),
            Some(("cookie", name)) => match CookieName::new(name) {
                Ok(name) => return Some(TokenSource::Cookie(name)),
                Err(fault) => (fault.to_string(), "write cookie:NAME"),
            },
            _ => (format!("{} is no place for a token", text.shown()), "write \"bearer\" or \"cookie:NAME\""),
        };
        section.reader.error(&text.path, what, remedy);
        None
    };
    texts.iter().filter_map(source).collect()
}

fn fallback(section: &Section<'_>, key: &'static str) -> Option<Text> {
    let text = section.text_else(key, "`refuse`, or a jurisdiction", Some("refuse"));
    text.filter(|text| text.value != "refuse")
}
