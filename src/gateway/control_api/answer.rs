//! Answers of the control API: JSON, or problem details that say more than the gateway's other ones.
//!
//! Invariant: a refusal names places and remedies, jurisdictions and states, and repeats no value of the call.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::call::Fault;
use crate::gateway::problem::Problem;
use crate::gateway::registrar::RegistrarFault;
use crate::gateway::reply::Reply;

/// A call that was not carried out.
pub(super) struct Refused {
    status: StatusCode,
    code: &'static str,
    detail: &'static str,
    /// Members beside the usual ones.
    more: Value,
    allow: Option<Method>,
}

pub(super) fn ok(value: &Value) -> Reply {
    json(StatusCode::OK, value)
}

pub(super) fn json(status: StatusCode, value: &Value) -> Reply {
    Reply::own(status, "application/json", value.to_string())
}

impl Refused {
    fn new(status: StatusCode, code: &'static str, detail: &'static str) -> Self {
        Self { status, code, detail, more: json!({}), allow: None }
    }

    fn with(mut self, more: &Value) -> Self {
        self.more = more.clone();
        self
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn method(allowed: &Method) -> Self {
        let detail = "This path takes another method; Allow names it.";
        let refused = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
        Self { allow: Some(allowed.clone()), ..refused }
    }

    pub(super) fn faults(faults: &[Fault]) -> Self {
        let unknown = faults.iter().any(|fault| fault.code == Some("country-unknown"));
        let errors: Vec<_> =
            faults.iter().map(|fault| json!({ "pointer": fault.pointer, "detail": fault.detail })).collect();
        let code = if unknown && faults.len() == 1 { "country-unknown" } else { "invalid-call" };
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            code,
            "The call has faults; errors names each with its place (a JSON pointer, RFC 6901) and what to do.",
        )
        .with(&json!({ "errors": errors }))
    }

    pub(super) fn move_required(more: &Value) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "move_required",
            "The subject is at home in another jurisdiction (jurisdiction) than its country asks for (required). It is marked as \
             pending there and stays until `residency-migrate users` has moved it.",
        )
        .with(more)
    }

    pub(super) fn moving(more: &Value) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "subject-moving",
            "The subject is being moved; nothing was changed. Try again.",
        )
        .with(more)
    }

    pub(super) fn taken(identifier: usize) -> Self {
        let pointer = format!("/identifiers/{identifier}");
        let detail = "belongs to another subject; that one has to give it up first";
        Self::new(
            StatusCode::CONFLICT,
            "identifier-taken",
            "An identifier belongs to another subject; nothing was changed.",
        )
        .with(&json!({ "errors": [{ "pointer": pointer, "detail": detail }] }))
    }

    pub(super) fn no_register() -> Self {
        RegistrarFault::NoRegister.into()
    }

    pub(super) fn reply(self) -> Reply {
        let mut body = json!({
            "type": format!("urn:residency:problem:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let (Value::Object(body), Value::Object(more)) = (&mut body, self.more) {
            body.extend(more);
        }
        let mut reply = Reply::own(self.status, "application/problem+json", body.to_string());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            reply.head.fields.add("retry-after", b"1");
        }
        if let Some(allow) = self.allow {
            reply.head.fields.add("allow", allow.as_str().as_bytes());
        }
        reply
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        let detail = match problem {
            Problem::NotFound => "The control API has no such path.",
            Problem::BodyTooLarge => "The body is larger than any call.",
            other => other.detail(),
        };
        Self::new(problem.status(), problem.code(), detail)
    }
}

impl From<RegistrarFault> for Refused {
    fn from(fault: RegistrarFault) -> Self {
        let away = StatusCode::SERVICE_UNAVAILABLE;
        match fault {
            RegistrarFault::Busy => {
                Self::new(away, "overloaded", "Too many calls are under way; nothing was changed. Try again.")
            }
            RegistrarFault::NoRegister => Self::new(
                StatusCode::NOT_IMPLEMENTED,
                "no-register",
                "This gateway writes no register of that jurisdiction: configure [register] and jurisdictions.NAME.register.",
            ),
            RegistrarFault::Unreachable(_) => Self::new(
                away,
                "register-unavailable",
                "The register's primary can't be reached; the call may have been carried out. Repeat it.",
            ),
            RegistrarFault::ReadOnly => Self::new(
                away,
                "read-only",
                "The jurisdiction is closed to writes; nothing was changed. Try again.",
            ),
            RegistrarFault::UnknownKey => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "register-key-unknown",
                "The register doesn't know the key of this gateway: `residency-migrate schema apply` tells it.",
            ),
            RegistrarFault::Refused(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "register-refused",
                "The register refused; the gateway's log says why.",
            ),
        }
    }
}
