//! A request to send, and the answer to it.

use std::fmt::Write as _;

use serde_json::Value;

use super::Head;

/// A request in the making.
#[derive(Debug, Clone)]
pub struct Ask {
    start: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Ask {
    /// `GET /path`.
    pub fn new(start: &str) -> Self {
        Self {
            start: start.to_owned(),
            headers: vec![("host".to_owned(), "api.test".to_owned())],
            body: None,
        }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub fn is_head(&self) -> bool {
        self.start.starts_with("HEAD ")
    }

    /// As HTTP/2 has it: the host is the authority. The body, if there is one.
    pub fn http2(&self) -> (http::Request<()>, Option<bytes::Bytes>) {
        let (method, target) = self.start.split_once(' ').expect("a method and a path");
        let host = &self.headers.iter().find(|(name, _)| name == "host").expect("every request has one").1;
        let mut request = http::Request::builder().method(method).uri(format!("http://{host}{target}"));
        for (name, value) in self.headers.iter().filter(|(name, _)| name != "host") {
            request = request.header(name, value);
        }
        (request.body(()).expect("a request"), self.body.clone().map(bytes::Bytes::from))
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} HTTP/1.1\r\n", self.start);
        for (name, value) in &self.headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            let _ = write!(text, "content-length: {}\r\n", body.len());
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend(self.body.iter().flatten());
        bytes
    }
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The code of a problem, with its status; panics when it is none, or contradicts itself.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.head.get("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        let code = problem["code"].as_str().expect("a problem has a code").to_owned();
        assert_eq!(problem["status"], self.status());
        assert_eq!(problem["type"], format!("urn:residency:problem:{code}"));
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        (self.status(), code)
    }

    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str) {
        assert_eq!(self.problem(), (status, code.to_owned()), "{self:?}");
    }

    #[track_caller]
    pub fn expect_ok(&self) {
        assert_eq!(self.status(), 200, "{} {:?}", self.head.start, String::from_utf8_lossy(&self.body));
    }
}
