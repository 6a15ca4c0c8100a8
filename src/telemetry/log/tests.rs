use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::*;

/// What a log line goes to: shared memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics with it").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(level: Level, events: impl FnOnce()) -> Vec<Value> {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing::subscriber::with_default(subscriber(level, move || writer.clone()), events);
    let bytes = lines.0.lock().expect("no test panics with it").clone();
    let text = String::from_utf8(bytes).expect("UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn an_event_is_one_line_of_json() {
    let lines = logged(Level::Info, || tracing::warn!(region = "eu", tries = 3, "two\nlines \"quoted\""));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["message"], "two\nlines \"quoted\"");
    assert_eq!((&lines[0]["level"], &lines[0]["region"]), (&"WARN".into(), &"eu".into()));
    assert_eq!(lines[0]["tries"], 3);
    assert!(lines[0]["timestamp"].as_str().is_some_and(|time| time.ends_with('Z')));
}

#[test]
fn libraries_are_heard_from_warn_up() {
    let lines = logged(Level::Trace, || {
        tracing::trace!("ours");
        tracing::info!(target: "hyper::proto", "authorization: secret");
        tracing::warn!(target: "tokio_postgres", "theirs");
        tracing::info!(target: "residency_gateway", "the program's");
    });
    let messages: Vec<&str> = lines.iter().filter_map(|line| line["message"].as_str()).collect();
    assert_eq!(messages, ["ours", "theirs", "the program's"]);
    assert!(logged(Level::Error, || tracing::warn!(target: "hyper", "theirs")).is_empty());
}

#[test]
fn an_error_chain_of_others_loses_what_is_personal() {
    #[derive(Debug, thiserror::Error)]
    #[error("can't read the register")]
    struct Outer(#[source] Inner);
    #[derive(Debug, thiserror::Error)]
    #[error("Key (email)=({email}) already exists; connection postgres://app:hunter2@db/us")]
    struct Inner {
        email: &'static str,
    }
    let lines = logged(Level::Info, || {
        let error = Outer(Inner { email: "alice@example.com" });
        let chain = format!("{:#}", anyhow::Error::new(error));
        tracing::error!(error = %chain, detail = ?"\nalice@example.com", "it failed");
    });
    let line = lines[0].to_string();
    assert!(line.contains("can't read the register") && line.contains("already exists"), "{line}");
    assert!(!line.contains("alice") && !line.contains("hunter2"), "{line}");
}

#[test]
fn types_of_this_module_print_nothing_secret() {
    let hasher = crate::telemetry::SubjectHasher::new(b"hunter2");
    let client = crate::telemetry::truncate_address("203.0.113.77".parse().expect("an address"));
    let lines =
        logged(Level::Info, || tracing::info!(?hasher, %client, subject = %hasher.hash("alice"), "keys"));
    let line = lines[0].to_string();
    assert!(!line.contains("hunter2") && !line.contains("alice") && !line.contains("113.77"), "{line}");
    assert_eq!(lines[0]["subject"].as_str().map(str::len), Some(32));
}

#[test]
fn levels_have_names() {
    assert_eq!("debug".parse(), Ok(Level::Debug));
    assert_eq!("loud".parse::<Level>(), Err(UnknownLevel("loud".to_owned())));
}
