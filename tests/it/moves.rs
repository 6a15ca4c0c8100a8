//! Subjects that move: registers from files, which a test rewrites, before upstreams that it writes byte by byte.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Value, json};

use crate::harness::{Ask, Gateway, Key, Setup, Upstream, eventually, holds};

mod hops;
mod open;
mod placement;
mod waiting;

const KEYS: [(&str, &str); 2] = [
    ("SUBJECT_KEY", "a key of subjects that has 32 bytes or more"),
    ("IDENTIFIER_KEY", "a key of identifiers that has 32 bytes or more"),
];

const REGISTERS: &str = "[jurisdictions.us]\nregister_file = 'file:us.jsonl'\n\
                         [jurisdictions.eu]\nregister_file = 'file:eu.jsonl'\n\
                         [register]\nsubject_key = 'env:SUBJECT_KEY'\nidentifier_key = 'env:IDENTIFIER_KEY'\n\
                         poll_ms = 50\n";

/// With registers of both jurisdictions, which say nothing yet.
fn with_registers(setup: Setup) -> Setup {
    let setup = KEYS.iter().fold(setup.with(REGISTERS), |setup, (name, key)| setup.env(name, key));
    setup.write("us.jsonl", "[]");
    setup.write("eu.jsonl", "[]");
    setup
}

/// One region that is home of both, before an API.
async fn start(api: &Upstream, piece: &str) -> Gateway {
    with_registers(Setup::before(&[api.address])).with(piece).start().await
}

/// A register says this from now on; ready when the gateway knows.
async fn say(gateway: &Gateway, register: &str, rows: &[Value]) {
    let read = async || {
        let labels = [("jurisdiction", register), ("reason", "file")];
        gateway.metrics().await.value("residency_register_reloads_total", &labels)
    };
    let before = read().await;
    write(gateway, register, rows);
    eventually("the register is read", async || holds(read().await > before, || "not yet".to_owned())).await;
}

/// The same, without waiting.
fn write(gateway: &Gateway, register: &str, rows: &[Value]) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let text = Value::from(rows).to_string();
    // In one step, and another file than before whatever the clock says.
    let draft = format!("{register}-{}", NEXT.fetch_add(1, Relaxed));
    gateway.setup.write(&draft, &text);
    let to = gateway.path(&format!("{register}.jsonl"));
    std::fs::rename(gateway.path(&draft), to).expect("the directory takes files");
}

/// What the source says while `who` is being moved from `us` to `eu`.
fn closing(who: &str) -> Value {
    json!({ "subject": who, "state": "closing", "generation": 2, "toward": "eu" })
}

/// The flip.
async fn flip(gateway: &Gateway, who: &str) {
    let home = json!({ "subject": who, "generation": 3 });
    say(gateway, "eu", &[home]).await;
    say(gateway, "us", &[json!({ "subject": who, "state": "gone", "generation": 3, "toward": "eu" })]).await;
}

fn ask(start: &str, who: &str) -> Ask {
    Ask::new(start).token(&Key::usual().token(who, "us"))
}

/// How many writes wait.
async fn waiting(gateway: &Gateway, count: usize) {
    gateway.metric_becomes("residency_holds_waiting", &[], count as f64).await;
}

async fn ended(gateway: &Gateway, outcome: &str) -> f64 {
    gateway.metrics().await.value("residency_holds_total", &[("outcome", outcome)])
}
