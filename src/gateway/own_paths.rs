//! Paths the gateway answers itself: health everywhere, its state for other regions on the internal listener.

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};

use super::body::ResponseBody;
use super::headers::HOP;
use super::health::Depth;
use super::problem::Problem;
use super::settings::Settings;
use super::worker::Worker;
use crate::domain::decide::Entry;

/// Where another region's gateway asks for this one's state.
pub const STATE_PATH: &str = "/residency/state";

/// The answer, if the request is for one of the gateway's own paths.
pub fn answer<B>(
    worker: &Worker,
    settings: &Settings,
    entry: Entry,
    request: &Request<B>,
) -> Option<Response<ResponseBody>> {
    let path = request.uri().path();
    if entry == Entry::Hop && !request.headers().contains_key(HOP) {
        return Some(if path == STATE_PATH && request.method() == Method::GET {
            json("application/json", settings.state_for_peers())
        } else {
            Problem::NotFound.response()
        });
    }
    if !path.starts_with("/health/") || !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    health(settings, path, request.uri().query(), worker.gateway.is_draining(), false)
}

/// A health document; `detail` names each check.
pub fn health(
    settings: &Settings,
    path: &str,
    query: Option<&str>,
    draining: bool,
    detail: bool,
) -> Option<Response<ResponseBody>> {
    let depth = Depth::of_path(path)?;
    let topology = &settings.config.topology;
    let named = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("jurisdiction="));
    let jurisdiction = match named {
        None => None,
        Some(name) => match topology.jurisdiction(name) {
            Some(found) => Some(found),
            None => return Some(Problem::NotFound.response()),
        },
    };
    let (status, document) =
        settings.health.document(depth, jurisdiction, settings.region_name(), draining, detail);
    let mut response = json("application/health+json", document);
    *response.status_mut() = status.http();
    Some(response)
}

pub fn json(content_type: &'static str, text: String) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(text.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
