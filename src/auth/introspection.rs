//! Tokens that only their issuer can read: asking it what one means (RFC 7662).
//!
//! The way of a question: a worker hands its token to the `Introspector`, whose `IntrospectionService` runs on the control
//! plane. That answers from what it remembers, or has `Admission` say when the issuer is asked; all who asked about the same
//! token get the one answer, and each worker's token cache keeps it from then on.
//!
//! Invariants
//! - At most one question about a token is under way. Toward the issuer both questions a second and questions at once are
//!   bounded, and so is what waits for its turn.
//! - Good and bad answers are remembered apart, each in a bounded memory: tokens nobody issued push out no good one.
//! - A token that was good before, or whose signature holds, waits in a lane of its own and uses up no rate: a flood of strangers
//!   doesn't lock out those who are known.
//! - What the issuer does not answer is refused. Nothing is believed for longer than its `exp` and the configured time.
//! - Answers are kept across a reload only if nothing about the issuer has changed.
//! - Tokens are remembered by their SHA-256; the token itself lives as long as its question, and no fault holds it (R7).
//!
//! Absent by design: signed answers (RFC 9701): the answer comes from the issuer itself, over TLS. Choosing among several
//! introspecting issuers: an opaque token names none, and one issuer's tokens are not for another's eyes.
mod admission;
mod answer;
mod endpoint;
mod memory;
mod service;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::{ClaimValue, IssuerPolicy, TokenFault};
use crate::domain::secret::Secret;

pub use service::IntrospectionService;

/// Questions that workers have put and the service has not looked at yet.
const UNREAD: usize = 1024;

/// How one issuer is asked about tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// `https`, or `http` on loopback.
    pub url: String,
    /// None: the endpoint asks for none.
    pub client: Option<ClientCredentials>,
    pub tokens: IntrospectedTokens,
    /// How long a good answer is believed, at most.
    pub keep: Duration,
    /// How long a bad one is.
    pub keep_refused: Duration,
    /// For one question, and for waiting until it may be put.
    pub timeout: Duration,
    /// Questions a second about tokens not known to be good.
    pub per_second: u32,
}

/// What we are to the issuer (RFC 6749 §2.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    pub id: String,
    pub secret: Secret,
}

/// Which tokens the issuer is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntrospectedTokens {
    /// Those that are no signed JWT.
    Opaque,
    /// Its JWTs too, once their signature holds: withdrawing one takes effect before it expires.
    All,
}

/// How a question to the issuer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntrospectionResult {
    Active,
    Inactive,
    /// No answer, or one that is none.
    Failed,
}

/// What a token means, by its issuer's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) subject: Option<String>,
    pub(super) jurisdiction: ClaimValue,
    /// When the answer is no longer believed, Unix seconds.
    pub(super) expires_at: u64,
    pub(super) not_before: Option<u64>,
}

/// A worker's question.
struct Question {
    token: Box<str>,
    /// Its signature has been verified: the answer need only confirm it.
    signed: bool,
    reply: oneshot::Sender<Reply>,
}

type Reply = Result<Meaning, TokenFault>;

/// Where workers put their questions to the issuer in the list that introspects.
pub(super) struct Introspector {
    pub(super) issuer_index: usize,
    pub(super) tokens: IntrospectedTokens,
    desk: Arc<Desk>,
}

/// The same from one configuration to the next while the issuer's policy stays. Dropping the last one ends the service.
struct Desk {
    policy: IssuerPolicy,
    questions: mpsc::Sender<Question>,
    /// Until somebody takes it to run it.
    service: Mutex<Option<IntrospectionService>>,
}

impl Introspector {
    /// None if no issuer in the list introspects. `previous` hands on what is remembered, if all of the policy stays.
    pub(super) fn of(policies: &[IssuerPolicy], previous: Option<&Self>) -> Option<Self> {
        let (issuer_index, policy) =
            policies.iter().enumerate().find(|(_, policy)| policy.introspection.is_some())?;
        let introspection = policy.introspection.as_ref()?;
        let kept = previous.map(|previous| &previous.desk).filter(|desk| desk.policy == *policy);
        let desk = kept.cloned().unwrap_or_else(|| {
            let (questions, unread) = mpsc::channel(UNREAD);
            let service = IntrospectionService::new(policy, introspection.clone(), unread);
            Arc::new(Desk { policy: policy.clone(), questions, service: Mutex::new(Some(service)) })
        });
        Some(Self { issuer_index, tokens: introspection.tokens, desk })
    }

    /// The service, for whoever runs it; once.
    pub(super) fn take_service(&self) -> Option<IntrospectionService> {
        self.desk.service.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What the token means. May be called from any thread and runtime; ends within twice the configured time-out as long as
    /// the service runs.
    pub(super) async fn ask(&self, token: &str, signed: bool) -> Reply {
        let (reply, answer) = oneshot::channel();
        match self.desk.questions.try_send(Question { token: token.into(), signed, reply }) {
            Ok(()) => answer.await.unwrap_or(Err(TokenFault::IntrospectionUnavailable)),
            Err(mpsc::error::TrySendError::Full(_)) => Err(TokenFault::IntrospectionLimited),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(TokenFault::IntrospectionUnavailable),
        }
    }
}

impl IntrospectionResult {
    /// A stable label for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Question([redacted])")
    }
}
