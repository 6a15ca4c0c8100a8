//! What a request's headers cost: taking out what must not pass, saying for whom it is sent on.
use std::hint::black_box;
use std::rc::Rc;

use residency::domain::decide::Entry;
use residency::gateway::connection::Peer;
use residency::gateway::headers::{add_forwarded, strip};
use residency::http1::Fields;

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

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.add(name, value.as_bytes());
    }
    fields
}

fn peer() -> Rc<Peer> {
    Peer::new([192, 0, 2, 7].into(), Entry::Edge, true)
}

#[divan::bench]
fn browser_request(bencher: divan::Bencher<'_, '_>) {
    let peer = peer();
    bencher.with_inputs(|| fields(&BROWSER)).bench_local_refs(|headers| {
        strip(black_box(headers), false);
        add_forwarded(headers, &peer, false);
    });
}

#[divan::bench]
fn forged_request(bencher: divan::Bencher<'_, '_>) {
    let peer = peer();
    let forged = || {
        let forgeries = [
            ("residency-jurisdiction", "us"),
            ("residency-subject", "root"),
            ("x-forwarded-for", "203.0.113.9"),
        ];
        fields(&[&BROWSER[..], &forgeries].concat())
    };
    bencher.with_inputs(forged).bench_local_refs(|headers| {
        strip(black_box(headers), false);
        add_forwarded(headers, &peer, false);
    });
}
