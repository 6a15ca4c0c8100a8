//! The position as an API may supply it: `lsn=16/B374D848; timeline=3`.
//!
//! An API that knows where its transaction ended (`pg_current_wal_insert_lsn()` after the commit) saves the gateway the question.
//! Order and white space around parameters are free; each is named once, and there are no others.

use super::super::replication_lag::LogPosition;

/// The text is no position of that form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position such as `lsn=16/B374D848; timeline=3`")]
pub struct InvalidPosition;

/// Reads the header's value.
pub fn parse_said_by_api(value: &[u8]) -> Result<LogPosition, InvalidPosition> {
    let text = std::str::from_utf8(value).map_err(|_| InvalidPosition)?;
    let (mut lsn, mut timeline) = (None, None);
    for parameter in text.split(';') {
        let (name, value) = parameter.trim_matches([' ', '\t']).split_once('=').ok_or(InvalidPosition)?;
        match name {
            "lsn" if lsn.is_none() => lsn = Some(value.parse().map_err(|_| InvalidPosition)?),
            "timeline" if timeline.is_none() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                timeline = Some(value.parse().map_err(|_| InvalidPosition)?);
            }
            _ => return Err(InvalidPosition),
        }
    }
    Ok(LogPosition {
        lsn: lsn.ok_or(InvalidPosition)?,
        timeline: timeline.filter(|one: &super::Timeline| one.0 > 0).ok_or(InvalidPosition)?,
    })
}
