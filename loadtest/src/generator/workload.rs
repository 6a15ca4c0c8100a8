//! The bytes of a load: what each request sends, and what every answer must be.
use std::sync::Arc;

/// Requests in the order in which they are sent, round and round, and the one answer to all of them.
#[derive(Debug, Clone)]
pub struct Workload {
    requests: Arc<[Box<[u8]>]>,
    /// What follows each request's head.
    upload: Arc<[u8]>,
    answer: Arc<[u8]>,
    body: Arc<[u8]>,
}

impl Workload {
    /// `head` is the answer's status line and header fields without `Content-Length` and without the blank line.
    ///
    /// # Panics
    /// Without requests: there would be nothing to send.
    pub fn new(requests: Vec<Vec<u8>>, head: &str, body: &[u8]) -> Self {
        assert!(!requests.is_empty(), "a workload needs a request");
        let mut answer = format!("{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(body);
        Self {
            requests: requests.into_iter().map(Vec::into_boxed_slice).collect(),
            upload: Arc::default(),
            answer: answer.into(),
            body: body.into(),
        }
    }

    /// The same with a body behind each request's head, which must announce its length.
    #[must_use]
    pub fn uploading(self, upload: &[u8]) -> Self {
        Self { upload: upload.into(), ..self }
    }

    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub fn request(&self, index: usize) -> &[u8] {
        &self.requests[index]
    }

    /// The next part of a request of which so much has been sent; `None` at its end.
    pub(super) fn left<'a>(&'a self, head: &'a [u8], sent: usize) -> Option<&'a [u8]> {
        let left = if sent < head.len() { &head[sent..] } else { self.upload.get(sent - head.len()..)? };
        (!left.is_empty()).then_some(left)
    }

    /// What must reach the upstream as body of a request that is no GET.
    pub(super) fn upload(&self) -> Arc<[u8]> {
        Arc::clone(&self.upload)
    }

    /// What the upstream sends, head and body.
    pub fn answer(&self) -> Arc<[u8]> {
        Arc::clone(&self.answer)
    }

    /// What must arrive as body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}
