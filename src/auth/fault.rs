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
    /// `introspection-unavailable`, 503: the issuer doesn't tell, or can't be asked now.
    IntrospectionUnavailable,
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
    #[error("the issuer says that it is not active")]
    Inactive,
    #[error("the issuer's answer names another subject or jurisdiction than the token")]
    AnswerDiffers,
    #[error("the issuer gave no answer about it")]
    IntrospectionUnavailable,
    #[error("too many other tokens wait for the issuer's answer")]
    IntrospectionLimited,
}

impl TokenFault {
    /// Every label, for whoever counts faults by [`TokenFault::index`].
    pub const CODES: &'static [&'static str] = &[
        "several-authorizations",
        "bearer-malformed",
        "cookie-malformed",
        "cookie-ambiguous",
        "too-long",
        "malformed",
        "header-malformed",
        "payload-malformed",
        "duplicate-name",
        "embedded-key",
        "critical-extension",
        "not-an-access-token",
        "algorithm-none",
        "algorithm-unknown",
        "algorithm-not-allowed",
        "algorithm-key-mismatch",
        "issuer-unknown",
        "key-unknown",
        "key-ambiguous",
        "keys-unavailable",
        "signature-invalid",
        "claim-missing",
        "claim-wrong-type",
        "subject-wrong-type",
        "audience-mismatch",
        "expired",
        "not-yet-valid",
        "inactive",
        "answer-differs",
        "introspection-unavailable",
        "introspection-limited",
    ];

    /// The place of the fault's label among [`TokenFault::CODES`].
    pub const fn index(&self) -> usize {
        match self {
            Self::SeveralAuthorizations => 0,
            Self::BearerMalformed => 1,
            Self::CookieMalformed => 2,
            Self::CookieAmbiguous => 3,
            Self::TooLong => 4,
            Self::Malformed => 5,
            Self::HeaderMalformed => 6,
            Self::PayloadMalformed => 7,
            Self::DuplicateName => 8,
            Self::EmbeddedKey => 9,
            Self::CriticalExtension => 10,
            Self::NotAnAccessToken => 11,
            Self::AlgorithmNone => 12,
            Self::AlgorithmUnknown => 13,
            Self::AlgorithmNotAllowed => 14,
            Self::AlgorithmKeyMismatch => 15,
            Self::IssuerUnknown => 16,
            Self::KeyUnknown { .. } => 17,
            Self::KeyAmbiguous => 18,
            Self::KeysUnavailable { .. } => 19,
            Self::SignatureInvalid => 20,
            Self::ClaimMissing(_) => 21,
            Self::ClaimWrongType(_) => 22,
            Self::SubjectWrongType => 23,
            Self::AudienceMismatch => 24,
            Self::Expired => 25,
            Self::NotYetValid => 26,
            Self::Inactive => 27,
            Self::AnswerDiffers => 28,
            Self::IntrospectionUnavailable => 29,
            Self::IntrospectionLimited => 30,
        }
    }

    /// A stable label for metrics and logs.
    pub const fn code(&self) -> &'static str {
        Self::CODES[self.index()]
    }

    /// Which of the refusals a client gets.
    pub const fn class(&self) -> FaultClass {
        match self {
            Self::Expired => FaultClass::Expired,
            Self::KeysUnavailable { .. } => FaultClass::KeysUnavailable,
            Self::IntrospectionUnavailable | Self::IntrospectionLimited => {
                FaultClass::IntrospectionUnavailable
            }
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
