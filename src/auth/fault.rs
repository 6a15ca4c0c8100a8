//! Everything that can be wrong with a token, each with one name.
//!
//! `Display` is for operators and holds nothing out of the token (R7). Clients see only the class.

/// What a fault means for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultClass {
    /// `token-invalid`, 401.
    Invalid,
    /// `token-expired`, 401.
    Expired,
    /// `keys-unavailable`, 503: we can't tell yet.
    KeysUnavailable,
}

/// A claim of RFC 7519 §4.1 that the verifier itself reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisteredClaim {
    Iss,
    Sub,
    Aud,
    Exp,
    Nbf,
}

impl RegisteredClaim {
    /// The claim's name in a token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iss => "iss",
            Self::Sub => "sub",
            Self::Aud => "aud",
            Self::Exp => "exp",
            Self::Nbf => "nbf",
        }
    }
}

/// Why a credential was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("more than one Authorization header")]
    SeveralAuthorizations,
    #[error("the Bearer credential is empty or has characters no token has")]
    BearerMalformed,
    #[error("the token cookie has characters no token has")]
    CookieMalformed,
    #[error("the token cookie came twice, with different values")]
    CookieAmbiguous,
    #[error("longer than {} bytes", super::MAX_TOKEN_BYTES)]
    TooLong,
    #[error("not three base64url parts (a signed compact JWT)")]
    Malformed,
    #[error("header is not a JSON object with fields of the right types")]
    HeaderMalformed,
    #[error("payload is not a JSON object")]
    PayloadMalformed,
    #[error("a JSON name occurs twice")]
    DuplicateName,
    #[error("the header brings its own key (jwk, jku, x5u or x5c)")]
    EmbeddedKey,
    #[error("the header has critical extensions, none of which we understand")]
    CriticalExtension,
    #[error("the header's typ names a token that is not for access")]
    NotAnAccessToken,
    #[error("alg is none")]
    AlgorithmNone,
    #[error("alg is not one we know")]
    AlgorithmUnknown,
    #[error("alg is not among the issuer's allowed algorithms")]
    AlgorithmNotAllowed,
    #[error("the key that kid names is not for this alg")]
    AlgorithmKeyMismatch,
    #[error("iss is none of the configured issuers")]
    IssuerUnknown,
    #[error("no key of the issuer has this kid")]
    KeyUnknown {
        /// Whose keys may be worth a refetch.
        issuer_index: usize,
    },
    #[error("no kid, and not exactly one key of the issuer fits")]
    KeyAmbiguous,
    #[error("the issuer's keys have not been loaded yet")]
    KeysUnavailable {
        /// Whose keys are missing.
        issuer_index: usize,
    },
    #[error("the signature does not hold")]
    SignatureInvalid,
    #[error("required claim {} is missing", .0.name())]
    ClaimMissing(RegisteredClaim),
    #[error("claim {} has the wrong JSON type", .0.name())]
    ClaimWrongType(RegisteredClaim),
    #[error("the configured subject claim is not a non-empty string")]
    SubjectWrongType,
    #[error("aud names none of our audiences")]
    AudienceMismatch,
    #[error("expired")]
    Expired,
    #[error("not valid yet")]
    NotYetValid,
}

impl TokenFault {
    /// A stable label for metrics and logs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::SeveralAuthorizations => "several-authorizations",
            Self::BearerMalformed => "bearer-malformed",
            Self::CookieMalformed => "cookie-malformed",
            Self::CookieAmbiguous => "cookie-ambiguous",
            Self::TooLong => "too-long",
            Self::Malformed => "malformed",
            Self::HeaderMalformed => "header-malformed",
            Self::PayloadMalformed => "payload-malformed",
            Self::DuplicateName => "duplicate-name",
            Self::EmbeddedKey => "embedded-key",
            Self::CriticalExtension => "critical-extension",
            Self::NotAnAccessToken => "not-an-access-token",
            Self::AlgorithmNone => "algorithm-none",
            Self::AlgorithmUnknown => "algorithm-unknown",
            Self::AlgorithmNotAllowed => "algorithm-not-allowed",
            Self::AlgorithmKeyMismatch => "algorithm-key-mismatch",
            Self::IssuerUnknown => "issuer-unknown",
            Self::KeyUnknown { .. } => "key-unknown",
            Self::KeyAmbiguous => "key-ambiguous",
            Self::KeysUnavailable { .. } => "keys-unavailable",
            Self::SignatureInvalid => "signature-invalid",
            Self::ClaimMissing(_) => "claim-missing",
            Self::ClaimWrongType(_) => "claim-wrong-type",
            Self::SubjectWrongType => "subject-wrong-type",
            Self::AudienceMismatch => "audience-mismatch",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
        }
    }

    /// Which of the three refusals a client gets.
    pub const fn class(&self) -> FaultClass {
        match self {
            Self::Expired => FaultClass::Expired,
            Self::KeysUnavailable { .. } => FaultClass::KeysUnavailable,
            _ => FaultClass::Invalid,
        }
    }

    /// The issuer whose keys are worth one [`super::KeyRing::refetch`] before the token is refused for good.
    pub const fn refetch(&self) -> Option<usize> {
        match self {
            Self::KeyUnknown { issuer_index } | Self::KeysUnavailable { issuer_index } => Some(*issuer_index),
            _ => None,
        }
    }
}
