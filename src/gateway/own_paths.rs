//! Paths the gateway answers itself: health everywhere, its state for other regions on the internal listener.

use http::{Method, StatusCode};

use super::headers::HOP;
use super::health::Depth;
use super::problem::Problem;
use super::reply::Reply;
use super::settings::Settings;
use super::worker::Worker;
use crate::domain::decide::Entry;
use crate::http1::RequestHead;

/// Where another region's gateway asks for this one's state.
pub const STATE_PATH: &str = "/residency/state";

/// The answer, if the request is for one of the gateway's own paths.
pub fn answer(worker: &Worker, settings: &Settings, entry: Entry, head: &RequestHead) -> Option<Reply> {
    let path = head.path();
    if entry == Entry::Hop && head.fields.named(HOP).next().is_none() {
        return Some(if path == STATE_PATH && head.method == Method::GET {
            json("application/json", settings.state_for_peers())
        } else {
            Problem::NotFound.reply()
        });
    }
    if !path.starts_with("/health/") || !matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    health(settings, path, head.target.query(), worker.gateway.is_draining(), false)
}

/// A health document; `detail` names each check.
pub fn health(
    settings: &Settings,
    path: &str,
    query: Option<&str>,
    draining: bool,
    detail: bool,
) -> Option<Reply> {
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
            None => return Some(Problem::NotFound.reply()),
        },
    };
    let (status, document) =
        settings.health.document(depth, jurisdiction, settings.region_name(), draining, detail);
    Some(Reply::own(status.http(), "application/health+json", document))
}

pub fn json(content_type: &'static str, text: String) -> Reply {
    Reply::own(StatusCode::OK, content_type, text)
}
