//! Looking ahead into a body, boundedly, for what decides where it goes.
//!
//! Invariant: what was read goes upstream unchanged, before the rest.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;

use super::problem::Problem;
use crate::upstream::RequestBody;

/// Reads a body whole and puts it back. One longer than `limit` bytes is a problem: what decides can't be found
/// without holding more.
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
