//! The bytes of a load: what each request sends, and what every answer must be.
use std::sync::Arc;

/// Requests in the order in which they are sent, round and round, and the one answer to all of them.
#[derive(Debug, Clone)]
pub struct Workload {
    requests: Arc<[Box<[u8]>]>,
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
            answer: answer.into(),
            body: body.into(),
        }
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

    /// What the upstream sends, head and body.
    pub fn answer(&self) -> Arc<[u8]> {
        Arc::clone(&self.answer)
    }

    /// What must arrive as body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}
