//! Where a claim stands in a token: a name, a path into nested objects, or a name that itself contains dots.
//!
//! `https://acme.com/region` is one name; `app.region` may be a name or `region` inside `app`. The longest name that
//! exists wins, so the exact name beats every path, and a path may begin with a URL-named object.
use serde_json::{Map, Value};

/// More dots than any real claim has; bounds the search below.
const MAX_PATH_BYTES: usize = 256;
const MAX_DOTS: usize = 8;

/// The place of one claim. Parsed by [`ClaimPath::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(String);

/// What a token says at a [`ClaimPath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimValue {
    /// The token has no such claim.
    Missing,
    /// A string, as it stands in the token.
    Text(String),
    /// A number, list, object, boolean or null.
    WrongType,
}

/// Why a configured claim name is no place in a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimPathFault {
    #[error("a claim's name can't be empty")]
    Empty,
    #[error("a claim's name has at most {MAX_PATH_BYTES} bytes and {MAX_DOTS} dots")]
    TooLong,
}

impl ClaimPath {
    /// Takes the configured name as it is.
    pub fn new(path: impl Into<String>) -> Result<Self, ClaimPathFault> {
        let path = path.into();
        if path.is_empty() {
            return Err(ClaimPathFault::Empty);
        }
        if path.len() > MAX_PATH_BYTES || path.bytes().filter(|b| *b == b'.').count() > MAX_DOTS {
            return Err(ClaimPathFault::TooLong);
        }
        Ok(Self(path))
    }

    /// The configured name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn read(&self, claims: &Map<String, Value>) -> ClaimValue {
        match find(claims, &self.0) {
            None => ClaimValue::Missing,
            Some(Value::String(text)) => ClaimValue::Text(text.clone()),
            Some(_) => ClaimValue::WrongType,
        }
    }
}

fn find<'v>(object: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    if let Some(value) = object.get(path) {
        return Some(value);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| match object.get(&path[..dot]) {
        Some(Value::Object(inner)) => find(inner, &path[dot + 1..]),
        _ => None,
    })
}
