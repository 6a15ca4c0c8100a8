//! Looking ahead into a body, boundedly, for what decides where it goes.
//!
//! Invariant: what was read goes upstream unchanged, before the rest.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body;

use super::problem::Problem;
use crate::upstream::RequestBody;

/// How long a refusal waits for the rest of a body.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Reads a body whole and puts it back. One longer than `limit` bytes is a problem: what decides can't be found
/// without holding more.
pub async fn peek(body: &mut RequestBody, limit: usize) -> Result<Bytes, Problem> {
    let mut read = BytesMut::new();
    while !body.is_end_stream() {
        match body.frame().await {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { break };
                if read.len() + data.len() > limit {
                    return Err(Problem::BodyTooLarge);
                }
                read.extend_from_slice(&data);
            }
            Some(Err(_)) => return Err(Problem::BadRequest),
            None => break,
        }
    }
    let read = read.freeze();
    body.put_back(read.clone());
    Ok(read)
}

/// Reads what is left of a refused request's body, so that the refusal isn't lost with the connection: a socket that is
/// closed with bytes unread resets, and takes with it what the client has not read yet. Boundedly: a client that sends more
/// or more slowly has to take the reset. Returns whether the end was reached.
pub async fn discard(mut body: RequestBody, limit: usize) -> bool {
    let mut read = 0;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > limit {
                return false;
            }
        }
        body.is_end_stream()
    };
    tokio::time::timeout(DISCARD_TIME, reading).await.unwrap_or(false)
}
