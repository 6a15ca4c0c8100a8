//! The operational log: JSON lines on stderr, for operators.
//!
//! Invariants
//! - One line an event, always JSON, panics included.
//! - R7: every line passes [`redact`](super::redaction::redact()), and libraries are heard from `warn` up only. The whole
//!   rule is in [`redaction`](super::redaction).
//!
//! Absent by design: spans and request contexts (the access log has one line a request), and a message per request.

use std::io::{self, Write};
use std::panic;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use super::redaction::redact_json;

/// How much this program says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// A level that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no level; use error, warn, info, debug or trace")]
pub struct UnknownLevel(pub String);

/// Something else in this process logs already.
#[derive(Debug, thiserror::Error)]
#[error("the log was set up twice")]
pub struct AlreadyLogging(#[source] tracing::subscriber::SetGlobalDefaultError);

/// Starts to log to stderr, and reports panics there in the same form. Once a process.
pub fn init(level: Level) -> Result<(), AlreadyLogging> {
    tracing::subscriber::set_global_default(subscriber(level, io::stderr)).map_err(AlreadyLogging)?;
    panic::set_hook(Box::new(|panicked| {
        let place = panicked.location().map(ToString::to_string).unwrap_or_default();
        let message = panicked.payload_as_str().unwrap_or("not a string");
        tracing::error!(place, message, "panic");
    }));
    Ok(())
}

impl std::str::FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(name: &str) -> Result<Self, UnknownLevel> {
        match name {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(UnknownLevel(name.to_owned())),
        }
    }
}

impl Level {
    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

fn subscriber<W>(level: Level, writer: W) -> impl Subscriber + Send + Sync + for<'a> LookupSpan<'a>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A target is a prefix of the module path: `residency` stands for the library and both programs.
    let others = level.filter().min(LevelFilter::WARN);
    let heard = Targets::new().with_default(others).with_target("residency", level.filter());
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(Redacting(writer));
    Registry::default().with(lines.with_filter(heard))
}

/// Redacts what is written to the writers it makes. An event is formatted whole and written at once, so nothing that
/// must go is split over two writes.
struct Redacting<W>(W);

struct RedactingWriter<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Redacting<W> {
    type Writer = RedactingWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        RedactingWriter(self.0.make_writer())
    }
}

impl<W: Write> Write for RedactingWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.write_all(redact_json(&String::from_utf8_lossy(event)).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests;
