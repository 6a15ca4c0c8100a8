//! Looking ahead into a body, boundedly, for the country a request is about.
//!
//! Invariant: what was read goes upstream unchanged, before the rest.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;

use super::problem::Problem;
use crate::domain::countries::Country;
use crate::domain::decide::{Location, Refusal};
use crate::domain::routes::CountrySource;
use crate::domain::topology::Topology;
use crate::upstream::RequestBody;

/// Reads a body whole and puts it back. One longer than `limit` bytes is a problem: its country can't be found without
/// holding more.
pub async fn peek(body: &mut RequestBody, limit: usize) -> Result<Bytes, Problem> {
    match read_up_to(body, limit).await? {
        Read::Whole(bytes) => Ok(bytes),
        Read::Part => Err(Problem::BodyTooLarge),
    }
}

/// What a look ahead came to. The body has it back either way.
pub enum Read {
    Whole(Bytes),
    /// There is more than was to be held.
    Part,
}

/// Reads a body as far as `limit` bytes, and puts back what it read.
pub async fn read_up_to(body: &mut RequestBody, limit: usize) -> Result<Read, Problem> {
    let mut read = BytesMut::new();
    while !body.is_end_stream() && read.len() <= limit {
        match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => read.extend_from_slice(&data),
                // Trailers: the body is over, and what they say is lost with the look.
                Err(_) => break,
            },
            Some(Err(fault)) => return Err(Problem::of_body(&fault)),
            None => break,
        }
    }
    let whole = read.len() <= limit;
    let read = read.freeze();
    body.put_back(read.clone());
    Ok(if whole { Read::Whole(read) } else { Read::Part })
}

/// The jurisdiction of the country that the body names. It chooses a home and nothing else (R8).
pub fn country(topology: &Topology, source: &CountrySource, body: &[u8]) -> Location {
    let CountrySource::Json(pointer) = source;
    let value: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let Some(text) =
        value.as_ref().and_then(|json| json.pointer(pointer)).and_then(serde_json::Value::as_str)
    else {
        return Location::Unknown(Refusal::CountryMissing);
    };
    Country::parse(text)
        .and_then(|country| topology.jurisdiction_of_country(country))
        .map_or(Location::Unknown(Refusal::CountryUnknown), Location::Jurisdiction)
}
