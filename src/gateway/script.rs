//! The script that may have sent a request, so that it can read what the gateway itself answers (CORS).
//!
//! Kept beside a request while it is under way, and only where CORS is configured and the request names an origin.

use http::StatusCode;

use super::body::ResponseBody;
use super::reply::Reply;
use crate::config::Config;
use crate::domain::cors::{CorsHeaders, Preflight};
use crate::domain::routes::RouteRule;
use crate::http1::{Fields, Name, RequestHead, ResponseHead};

const REQUEST_METHOD: &str = "access-control-request-method";

/// What a request says of the script behind it.
#[derive(Debug)]
pub struct Script {
    method: String,
    /// Its headers about CORS.
    fields: Fields,
}

impl Script {
    /// `None` where nothing will come of it.
    pub fn of(config: &Config, head: &RequestHead) -> Option<Box<Self>> {
        if !head.fields.has(Name::Origin) || !config.has_cors() {
            return None;
        }
        let mut fields = Fields::default();
        for value in head.fields.all(Name::Origin) {
            fields.add("origin", value);
        }
        for value in head.fields.named(REQUEST_METHOD) {
            fields.add(REQUEST_METHOD, value);
        }
        Some(Box::new(Self { method: head.method.as_str().to_owned(), fields }))
    }

    /// The refusal as the script can read it. A preflight that can't be answered succeeds, so that the request itself comes
    /// and its refusal can be read.
    pub fn may_read(&self, config: &Config, rule: Option<&RouteRule>, mut reply: Reply) -> Reply {
        let Some(cors) = config.cors_of(rule) else { return reply };
        let only = |name: &str| {
            let mut values = self
                .fields
                .iter()
                .filter(|field| field.name_text == name.as_bytes())
                .map(|field| field.value);
            values.next().filter(|_| values.next().is_none())
        };
        if let Some(preflight) = Preflight::of(&self.method, only)
            && let Some(headers) = cors.preflight_headers(preflight)
        {
            let mut head = ResponseHead::new(StatusCode::NO_CONTENT);
            add(&mut head.fields, headers);
            return Reply { head, body: ResponseBody::empty(), last: reply.last };
        }
        add(&mut reply.head.fields, cors.headers_for(only("origin")));
        reply
    }
}

fn add(fields: &mut Fields, headers: CorsHeaders<'_>) {
    for (name, value) in headers {
        fields.add(name, value);
    }
}
