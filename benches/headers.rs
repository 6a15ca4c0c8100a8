//! What a request's headers cost: taking out what must not pass, saying for whom it is sent on.
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use residency::clock::CoarseClock;
use residency::config::Timeouts;
use residency::domain::decide::Entry;
use residency::gateway::connection::{Activity, Client};
use residency::gateway::headers::{add_forwarded, strip};

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// What a browser sends.
const BROWSER: [(&str, &str); 10] = [
    ("host", "api.acme.com"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "application/json, text/plain, */*"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-US,en;q=0.9"),
    ("authorization", "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2lnbmF0dXJl"),
    ("origin", "https://app.acme.com"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "same-site"),
    ("connection", "keep-alive"),
];

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn client() -> Client {
    let minute = Duration::from_mins(1);
    let timeouts = Timeouts {
        header: minute,
        idle: minute,
        connect: minute,
        first_byte: minute,
        upstream_idle: minute,
        stream_idle: minute,
        drain: minute,
    };
    let activity = Activity::new(&Arc::new(CoarseClock::default()), &timeouts);
    Client::new([192, 0, 2, 7].into(), Entry::Edge, true, activity)
}

#[divan::bench]
fn browser_request(bencher: divan::Bencher<'_, '_>) {
    let client = client();
    bencher.with_inputs(|| headers(&BROWSER)).bench_local_refs(|headers| {
        strip(black_box(headers), false);
        add_forwarded(headers, &client, false);
    });
}

#[divan::bench]
fn forged_request(bencher: divan::Bencher<'_, '_>) {
    let client = client();
    let forged = || {
        let mut headers = headers(&BROWSER);
        headers.extend(self::headers(&[
            ("residency-jurisdiction", "us"),
            ("residency-subject", "root"),
            ("x-forwarded-for", "203.0.113.9"),
        ]));
        headers
    };
    bencher.with_inputs(forged).bench_local_refs(|headers| {
        strip(black_box(headers), false);
        add_forwarded(headers, &client, false);
    });
}
