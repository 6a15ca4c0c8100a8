//! What all contenders share: users, request bytes, the upstream's answer, the certificate.
//!
//! Requests are those of a browser's app that fetches a small JSON list from its API, one a user and alike but for
//! the token; the answer is what an Express API sends. The load goes through the users in turn, so between two
//! requests with one token come those of all other users: a cache that holds them all always hits, one that holds a
//! handful never does.
use std::fmt::Write as _;

use anyhow::Result;

use super::contender::{Load, Upstream};
use super::identity::Issuer;
use super::origin::Origin;
use super::{Options, bodies};
use crate::certificate::Certificate;
use crate::generator::{Manner, Protocol, Rig, Trust, Workload};

/// The host that every request names.
pub(super) const HOST: &str = "api.acme.example";

/// The connections of HTTP/2 are fewer by this factor, and carry as many streams each: what is under way is the same.
const STREAMS: usize = 8;

/// Users where a request takes so long that a warm-up would not get round to all of them.
const FEW_USERS: usize = 200;

/// The shared parts, and the rig that drives them.
pub(super) struct Scene {
    pub(super) issuer: Issuer,
    pub(super) certificate: Certificate,
    pub(super) rig: Rig,
    tokens: Vec<String>,
    /// A token of the first user that another key signed.
    forged: String,
    small: Vec<u8>,
    large: Vec<u8>,
}

impl Scene {
    pub(super) fn prepare(options: &Options) -> Result<Self> {
        let issuer = Issuer::new()?;
        let tokens = (0..options.users).map(|user| issuer.token(user)).collect::<Result<Vec<_>>>()?;
        let forged = Issuer::new()?.token(0)?;
        let certificate = Certificate::make(&options.directory.join("peers").join("tls"), HOST)?;
        let (small, large) = (body(), bodies::body());
        let requests = tokens.iter().map(|token| get(token)).collect();
        let rig = Rig::new(Workload::new(requests, ANSWER_HEAD, &small))?;
        Ok(Self { issuer, certificate, rig, tokens, forged, small, large })
    }

    /// Readies load and upstream for what comes next.
    pub(super) fn assume(&mut self, load: Load) {
        let request = if load == Load::Uploads { upload_head } else { get };
        let users = match load {
            Load::Handshakes | Load::Downloads | Load::Uploads => FEW_USERS,
            _ => self.tokens.len(),
        };
        let requests = self.tokens.iter().take(users).map(|token| request(token)).collect();
        let workload = Workload::new(requests, ANSWER_HEAD, self.answer(load));
        self.rig.assume(if load == Load::Uploads { workload.uploading(&self.large) } else { workload });
    }

    /// The body that every answer must have.
    pub(super) fn answer(&self, load: Load) -> &[u8] {
        if load == Load::Downloads { &self.large } else { &self.small }
    }

    /// A whole request of the first user.
    pub(super) fn good(&self, load: Load) -> Vec<u8> {
        match load {
            Load::Uploads => [upload_head(&self.tokens[0]), self.large.clone()].concat(),
            _ => get(&self.tokens[0]),
        }
    }

    /// A GET with a token that another key signed.
    pub(super) fn forged(&self) -> Vec<u8> {
        get(&self.forged)
    }

    /// How the load speaks, or a check before it.
    pub(super) fn manner(&self, load: Load, trust: Trust) -> Result<Manner> {
        let secure = |protocol| self.certificate.secure(protocol, trust);
        Ok(match load {
            Load::Https => Manner::Tls(secure(Protocol::Http1)?),
            Load::Http2 => Manner::Http2(secure(Protocol::Http2)?, STREAMS),
            Load::Handshakes => Manner::Handshakes(secure(Protocol::Http1)?),
            _ => Manner::Plain,
        })
    }

    /// How many connections the load has.
    pub(super) fn connections(load: Load, options: &Options) -> usize {
        match load {
            Load::Http2 => (options.connections / STREAMS).max(1),
            Load::Downloads | Load::Uploads => bodies::CONNECTIONS.min(options.connections),
            Load::OneWorker => options.connections.div_ceil(2),
            _ => options.connections,
        }
    }

    pub(super) fn origin(&self, upstream: Upstream) -> Origin {
        match upstream {
            Upstream::Tcp => Origin::Tcp(self.rig.origin_address()),
            Upstream::Unix => Origin::Unix(self.rig.origin_socket()),
        }
    }
}

fn get(token: &str) -> Vec<u8> {
    head("GET /api/orders?limit=2", "", token)
}

fn upload_head(token: &str) -> Vec<u8> {
    let about = format!("Content-Type: application/octet-stream\r\nContent-Length: {}\r\n", bodies::BYTES);
    head("POST /api/documents", &about, token)
}

fn head(line: &str, about: &str, token: &str) -> Vec<u8> {
    let mut request = format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{about}");
    for (name, value) in BROWSER {
        write!(request, "{name}: {value}\r\n").expect("a String takes all");
    }
    write!(request, "Authorization: Bearer {token}\r\n\r\n").expect("a String takes all");
    request.into_bytes()
}

/// About 200 bytes of JSON.
fn body() -> Vec<u8> {
    let orders = [("ord_01k9zq4t7m", 4_900, "EUR", "paid"), ("ord_01k9zq8w2c", 12_050, "USD", "shipped")];
    let orders: Vec<_> = orders
        .into_iter()
        .map(|(id, amount, currency, state)| {
            serde_json::json!({"id": id, "amount": amount, "currency": currency, "state": state})
        })
        .collect();
    serde_json::json!({ "orders": orders, "next": "eyJhZnRlciI6Im9yZF8wMWs5enE4dzJjIn0" })
        .to_string()
        .into_bytes()
}

/// What a current browser sends with a `fetch()` across origins, in its order.
const BROWSER: [(&str, &str); 14] = [
    ("Connection", "keep-alive"),
    ("sec-ch-ua-platform", "\"macOS\""),
    (
        "User-Agent",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ),
    ("Accept", "application/json, text/plain, */*"),
    ("sec-ch-ua", "\"Chromium\";v=\"142\", \"Google Chrome\";v=\"142\", \"Not_A Brand\";v=\"99\""),
    ("sec-ch-ua-mobile", "?0"),
    ("Origin", "https://app.acme.example"),
    ("Sec-Fetch-Site", "same-site"),
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Fetch-Dest", "empty"),
    ("Referer", "https://app.acme.example/"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-US,en;q=0.9"),
    ("Cache-Control", "no-cache"),
];

/// As Express on Node answers, hop-by-hop fields included.
const ANSWER_HEAD: &str = "HTTP/1.1 200 OK\r\n\
    X-Powered-By: Express\r\n\
    Vary: Origin\r\n\
    Access-Control-Allow-Origin: https://app.acme.example\r\n\
    Content-Type: application/json; charset=utf-8\r\n\
    ETag: W/\"c2-ZmFzdCBhbmQgbGF3ZnVsIGVub3VnaA\"\r\n\
    Date: Mon, 23 Nov 2026 09:00:00 GMT\r\n\
    Connection: keep-alive\r\n\
    Keep-Alive: timeout=5\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_json_and_well_formed_requests() {
        assert!((150..=250).contains(&body().len()), "{} bytes", body().len());
        for request in [get("t.o.k"), upload_head("t.o.k")] {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut parsed = httparse::Request::new(&mut headers);
            assert_eq!(parsed.parse(&request), Ok(httparse::Status::Complete(request.len())));
        }
    }
}
