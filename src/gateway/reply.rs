//! What a client gets: a head, a body, and whether its connection can go on.

use bytes::Bytes;
use http::{Response, StatusCode};

use super::body::ResponseBody;
use super::record::Ending;
use crate::http1::ResponseHead;

/// An answer on its way to a client.
#[derive(Debug)]
pub struct Reply {
    pub head: ResponseHead,
    pub body: ResponseBody,
    /// No other request may follow on an HTTP/1.1 connection.
    pub last: bool,
}

impl Reply {
    /// An answer of the gateway's own. Nobody may keep it: it tells of this moment.
    pub fn own(status: StatusCode, content_type: &str, text: impl Into<Bytes>) -> Self {
        let mut head = ResponseHead::new(status);
        head.fields.add("content-type", content_type.as_bytes());
        head.fields.add("cache-control", b"no-store");
        Self { head, body: ResponseBody::full(text.into()), last: false }
    }

    /// With what is to happen when its last byte is out.
    #[must_use]
    pub fn ending(mut self, mut ending: Box<Ending>) -> Self {
        ending.record.status = self.head.status.as_u16();
        self.last |= ending.record.last;
        self.body = self.body.ending(ending);
        self
    }

    /// As hyper wants it.
    pub fn into_http(self) -> Response<ResponseBody> {
        self.head.into_http(self.body)
    }
}
