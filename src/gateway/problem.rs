//! What a client gets instead of an answer: RFC 9457 problem details with a stable code.
//!
//! Invariant: the text is fixed per code. Nothing of the request is repeated in it (R7).

use http::StatusCode;

use super::headers::BEHIND;
use super::reply::Reply;
use crate::domain::decide::Refusal;
use crate::http1::{BodyFault, HeadFault};

/// Every way in which the gateway itself ends a request badly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    Refused(Refusal),
    /// The request can be read in more than one way.
    BadRequest,
    /// The request's head is larger than any may be.
    HeadTooLarge,
    /// The part of the body that decides about the region is larger than the gateway reads ahead.
    BodyTooLarge,
    /// No API process took the request.
    UpstreamUnavailable,
    /// The client did not send the part of the body that decides about the region in time.
    RequestTimeout,
    /// An API process took the request and did not begin to answer in time.
    UpstreamTimeout,
    /// An API process took the request and broke off, or answered with something that is no HTTP.
    UpstreamFailed,
    /// A bound on connections is reached.
    Overloaded,
    /// Only the control paths are served here.
    NotFound,
}

/// Seconds after which a client may try again what is temporarily impossible.
const RETRY_AFTER_S: &[u8] = b"1";

impl Problem {
    /// All codes; a problem's [`Problem::index`] is its place here.
    pub const CODES: &'static [&'static str] = &[
        Refusal::TokenMissing.code(),
        Refusal::TokenInvalid.code(),
        Refusal::TokenExpired.code(),
        Refusal::KeysUnavailable.code(),
        Refusal::IntrospectionUnavailable.code(),
        Refusal::JurisdictionMissing.code(),
        Refusal::JurisdictionUnknown.code(),
        Refusal::CountryMissing.code(),
        Refusal::CountryUnknown.code(),
        Refusal::HomeUnavailable.code(),
        Refusal::ReadOnly.code(),
        Refusal::NoLawfulReplica.code(),
        Refusal::PositionUnavailable.code(),
        Refusal::SubjectMoving.code(),
        Refusal::RegisterUnreadable.code(),
        Refusal::GatewayForgotten.code(),
        Refusal::Misdirected.code(),
        Refusal::Behind.code(),
        "bad-request",
        "body-too-large",
        "upstream-unavailable",
        "upstream-timeout",
        "upstream-failed",
        "overloaded",
        "not-found",
        "request-timeout",
        "head-too-large",
    ];

    pub const fn index(self) -> usize {
        match self {
            Self::Refused(refusal) => refusal as usize,
            Self::BadRequest => 18,
            Self::BodyTooLarge => 19,
            Self::UpstreamUnavailable => 20,
            Self::UpstreamTimeout => 21,
            Self::UpstreamFailed => 22,
            Self::Overloaded => 23,
            Self::NotFound => 24,
            Self::RequestTimeout => 25,
            Self::HeadTooLarge => 26,
        }
    }

    pub const fn code(self) -> &'static str {
        Self::CODES[self.index()]
    }

    pub const fn status(self) -> StatusCode {
        match self {
            Self::Refused(refusal) => match refusal {
                Refusal::TokenMissing | Refusal::TokenInvalid | Refusal::TokenExpired => {
                    StatusCode::UNAUTHORIZED
                }
                Refusal::JurisdictionMissing | Refusal::JurisdictionUnknown => StatusCode::FORBIDDEN,
                Refusal::CountryMissing | Refusal::CountryUnknown => StatusCode::UNPROCESSABLE_ENTITY,
                Refusal::Misdirected | Refusal::Behind => StatusCode::MISDIRECTED_REQUEST,
                Refusal::KeysUnavailable
                | Refusal::IntrospectionUnavailable
                | Refusal::HomeUnavailable
                | Refusal::ReadOnly
                | Refusal::PositionUnavailable
                | Refusal::SubjectMoving
                | Refusal::RegisterUnreadable
                | Refusal::GatewayForgotten
                | Refusal::NoLawfulReplica => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UpstreamUnavailable | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::UpstreamFailed => StatusCode::BAD_GATEWAY,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// What the client's developer should know and do.
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Refused(refusal) => match refusal {
                Refusal::TokenMissing => {
                    "This request changes data and carries no token; send one, or have the route say where its country is."
                }
                Refusal::TokenInvalid => "The token does not verify; log in again.",
                Refusal::TokenExpired => "The token is not valid at this time; refresh it.",
                Refusal::KeysUnavailable => {
                    "The issuer's keys could not be fetched yet; try again in a moment."
                }
                Refusal::IntrospectionUnavailable => {
                    "The issuer could not be asked about this token; try again in a moment."
                }
                Refusal::JurisdictionMissing => {
                    "The token does not say where its subject's data lives; log in again."
                }
                Refusal::JurisdictionUnknown => {
                    "The token names a jurisdiction that is not served here; log in again."
                }
                Refusal::CountryMissing => "The request must name a country where the route expects it.",
                Refusal::CountryUnknown => "The country is no ISO 3166 code, or no jurisdiction serves it.",
                Refusal::HomeUnavailable => {
                    "The region where this data is written can't be reached; nothing was changed. Try again."
                }
                Refusal::ReadOnly => {
                    "This data is closed to changes for now; nothing was changed. Try again later."
                }
                Refusal::NoLawfulReplica => "No region that may hold this data can be reached. Try again.",
                Refusal::PositionUnavailable => {
                    "No region that can be reached has what this client has already seen. Try again."
                }
                Refusal::SubjectMoving => {
                    "This data is being moved to another region; nothing was changed. Try again."
                }
                Refusal::RegisterUnreadable => {
                    "This gateway can't read where this data is; another one may. Try again."
                }
                Refusal::GatewayForgotten => {
                    "This gateway may not serve this data any more; another one may. Try again."
                }
                Refusal::Misdirected => "This region may not serve this request.",
                Refusal::Behind => {
                    "The database of this region has not got what this client has already seen."
                }
            },
            Self::BadRequest => "The request can be read in more than one way.",
            Self::HeadTooLarge => {
                "The request's head is larger than any may be; send fewer or smaller headers."
            }
            Self::BodyTooLarge => "The body is larger than what is read ahead to find its country.",
            Self::UpstreamUnavailable => "No API process took the request; nothing was changed. Try again.",
            Self::UpstreamTimeout => {
                "The API took the request and did not answer in time; it may have been carried out."
            }
            Self::UpstreamFailed => "The API took the request and broke off; it may have been carried out.",
            Self::Overloaded => "Too many requests are under way; nothing was changed. Try again.",
            Self::NotFound => "Only the gateway's own paths are served here.",
            Self::RequestTimeout => "The body did not come in time; nothing was changed.",
        }
    }

    /// The problem of a request that could not be read. `None`: there is nobody left to tell.
    pub const fn of_head(fault: &HeadFault) -> Option<Self> {
        match fault {
            HeadFault::Malformed(_) => Some(Self::BadRequest),
            HeadFault::TargetTooLong | HeadFault::TooLarge => Some(Self::HeadTooLarge),
            HeadFault::Io(_) => None,
        }
    }

    /// The problem of a request whose body could not be read.
    pub const fn of_body(_fault: &BodyFault) -> Self {
        Self::BadRequest
    }

    pub fn reply(self) -> Reply {
        let status = self.status();
        let body = format!(
            r#"{{"type":"urn:residency:problem:{code}","title":"{title}","status":{status},"code":"{code}","detail":"{detail}"}}"#,
            code = self.code(),
            title = status.canonical_reason().unwrap_or("Error"),
            status = status.as_u16(),
            detail = self.detail(),
        );
        let mut reply = Reply::own(status, "application/problem+json", body);
        if self == Self::Refused(Refusal::Behind) {
            reply.head.fields.add(BEHIND, b"1");
        }
        match status {
            StatusCode::SERVICE_UNAVAILABLE => reply.head.fields.add("retry-after", RETRY_AFTER_S),
            StatusCode::UNAUTHORIZED => {
                let challenge: &[u8] = match self {
                    Self::Refused(Refusal::TokenMissing) => b"Bearer",
                    _ => b"Bearer error=\"invalid_token\"",
                };
                reply.head.fields.add("www-authenticate", challenge);
            }
            _ => {}
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> impl Iterator<Item = Problem> {
        let others = [
            Problem::BadRequest,
            Problem::BodyTooLarge,
            Problem::UpstreamUnavailable,
            Problem::UpstreamTimeout,
            Problem::UpstreamFailed,
            Problem::Overloaded,
            Problem::NotFound,
            Problem::RequestTimeout,
            Problem::HeadTooLarge,
        ];
        Refusal::ALL.into_iter().map(Problem::Refused).chain(others)
    }

    #[test]
    fn every_code_is_its_own_and_in_its_place() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(Problem::Refused(refusal).index(), index);
            assert_eq!(Problem::Refused(refusal).code(), refusal.code());
        }
        let mut codes = Problem::CODES.to_vec();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Problem::CODES.len());
        assert_eq!(Problem::HeadTooLarge.index() + 1, Problem::CODES.len());
    }

    #[test]
    fn each_problem_is_valid_json_that_says_what_it_is() {
        for problem in every() {
            let reply = problem.reply();
            assert_eq!(reply.head.status, problem.status());
            let text = reply.body.into_full().expect("a problem's body is whole");
            let json: serde_json::Value = serde_json::from_slice(&text).expect("valid JSON");
            assert_eq!(json["code"], problem.code());
            assert_eq!(json["status"], problem.status().as_u16());
        }
    }

    #[test]
    fn the_page_about_problems_gives_each_its_status() {
        let page = include_str!("../../docs/PROBLEMS.md");
        for problem in every() {
            let row = format!("| `{}` | {} |", problem.code(), problem.status().as_u16());
            assert!(page.contains(&row), "docs/PROBLEMS.md has no row {row}");
        }
    }
}
