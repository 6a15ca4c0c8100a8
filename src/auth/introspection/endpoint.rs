//! The issuer's introspection endpoint (RFC 7662 §2.1): one question, one answer.
//!
//! Bounded in time and size. Redirects are not followed: they would carry a token to whoever could plant one. Connections
//! are kept for a few seconds, and a question that one of them lost is put once more: asking changes nothing.
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::NoAnswer;
use super::{ClientCredentials, Introspection};
use crate::auth::FetchSetupFault;
use crate::auth::fetch::connector;

/// Real answers have less than a KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// An unused connection; below the 5 s after which common servers close theirs.
const IDLE: Duration = Duration::from_secs(4);
/// What a form leaves as it is (WHATWG URL, application/x-www-form-urlencoded).
const IN_A_FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskFault {
    #[error("request failed")]
    Request(#[source] hyper_util::client::legacy::Error),
    #[error("answered {0}: it doesn't take our client_id and client_secret")]
    Unauthorized(StatusCode),
    #[error("answered {0}; only 200 is taken, redirects are not followed")]
    Status(StatusCode),
    #[error("reading the answer failed, or it is larger than {MAX_ANSWER_BYTES} bytes")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("took longer than {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
}

/// A client of one endpoint.
pub(super) struct Endpoint {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    authorization: Option<HeaderValue>,
    timeout: Duration,
}

impl Endpoint {
    /// Trusts the system's authorities.
    pub(super) fn new(introspection: &Introspection) -> Result<Self, FetchSetupFault> {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector(None)?);
        Ok(Self {
            client,
            url: introspection.url.clone(),
            authorization: introspection.client.as_ref().map(basic),
            timeout: introspection.timeout,
        })
    }

    /// The body of the answer about this token.
    pub(super) async fn ask(&self, token: &str) -> Result<Vec<u8>, AskFault> {
        let form = format!("token={}&token_type_hint=access_token", in_a_form(token));
        let form = Bytes::from(form);
        let attempts = async {
            match self.attempt(form.clone()).await {
                Err(AskFault::Request(fault)) if !fault.is_connect() => self.attempt(form).await,
                ended => ended,
            }
        };
        tokio::time::timeout(self.timeout, attempts).await.unwrap_or(Err(AskFault::Timeout(self.timeout)))
    }

    async fn attempt(&self, form: Bytes) -> Result<Vec<u8>, AskFault> {
        let mut request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("residency-gateway/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(form))
            .expect("the URL was parsed when the policy was checked");
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let response = self.client.request(request).await.map_err(AskFault::Request)?;
        match response.status() {
            StatusCode::OK => {}
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(AskFault::Unauthorized(status));
            }
            status => return Err(AskFault::Status(status)),
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
        Ok(body.map_err(AskFault::Body)?.to_bytes().to_vec())
    }
}

/// HTTP Basic as OAuth has it: both parts are form-encoded first (RFC 6749 §2.3.1).
fn basic(client: &ClientCredentials) -> HeaderValue {
    let secret = String::from_utf8_lossy(client.secret.expose());
    let pair = format!("{}:{}", in_a_form(&client.id), in_a_form(&secret));
    let value = format!("Basic {}", STANDARD.encode(pair));
    let mut value = HeaderValue::try_from(value).expect("base64 is visible ASCII");
    value.set_sensitive(true);
    value
}

fn in_a_form(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, IN_A_FORM)
}
