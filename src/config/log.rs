//! `[log]`: what is written about requests, and where.

use super::section::Section;
use super::{AccessLogTarget, LogSettings};

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// 128 bits can't be guessed.
const LEAST_KEY_BYTES: usize = 16;

pub(super) fn log(section: &Section<'_>) -> LogSettings {
    let levels = LEVELS.map(|level| (level, level));
    LogSettings {
        level: section.choice("level", Some("info"), &levels).unwrap_or("info").to_owned(),
        access: access(section).unwrap_or(AccessLogTarget::Stdout),
        subject_key: section.secret("subject_key", LEAST_KEY_BYTES),
    }
}

fn access(section: &Section<'_>) -> Option<AccessLogTarget> {
    let text = section.text_else("access", "`stdout`, `off`, or `file:` and a path", Some("stdout"))?;
    match text.value.as_str() {
        "stdout" => Some(AccessLogTarget::Stdout),
        "off" => Some(AccessLogTarget::Off),
        file if file.starts_with("file:") => {
            section.reader.path_after("file:", &text).map(AccessLogTarget::File)
        }
        _ => {
            let what = format!("{} is no place for a log", text.shown());
            section.reader.error(&text.path, what, "write \"stdout\", \"off\" or \"file:/…\"");
            None
        }
    }
}
