//! What all contenders share: users, request bytes, the upstream's answer.
//!
//! Requests are those of a browser's app that fetches a small JSON list from its API, one a user and alike but for
//! the token; the answer is what an Express API sends. The load goes through the users in turn, so between two
//! requests with one token come those of all other users: a cache that holds them all always hits, one that holds a
//! handful never does.
use std::fmt::Write as _;

use anyhow::Result;

use super::Options;
use super::identity::Issuer;
use crate::generator::{Rig, Workload};

/// The host that every request names.
pub(super) const HOST: &str = "api.acme.example";

/// The shared parts, and the rig that drives them.
pub(super) struct Scene {
    pub(super) issuer: Issuer,
    pub(super) rig: Rig,
    /// A request of the first user.
    pub(super) good: Vec<u8>,
    /// The same with a token that another key signed.
    pub(super) forged: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl Scene {
    pub(super) fn prepare(options: &Options) -> Result<Self> {
        let issuer = Issuer::new()?;
        let requests =
            (0..options.users).map(|user| Ok(request(&issuer.token(user)?))).collect::<Result<Vec<_>>>()?;
        let good = request(&issuer.token(0)?);
        let forged = request(&Issuer::new()?.token(0)?);
        let body = body();
        let rig = Rig::new(Workload::new(requests, ANSWER_HEAD, &body))?;
        Ok(Self { issuer, rig, good, forged, body })
    }
}

fn request(token: &str) -> Vec<u8> {
    let mut request = format!("GET /api/orders?limit=2 HTTP/1.1\r\nHost: {HOST}\r\n");
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
        let request = request("t.o.k");
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut parsed = httparse::Request::new(&mut headers);
        assert_eq!(parsed.parse(&request), Ok(httparse::Status::Complete(request.len())));
    }
}
