//! The time of a line, without asking the kernel for it and without computing a date for each.
//!
//! A request already knows the instant it ended. One reading of the wall clock, taken anew at every tick, turns instants
//! into wall time; the text of the second in progress is kept. A wall clock that was set is followed at the next tick.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

const SECOND: usize = "2026-01-01T00:00:00".len();

/// Turns instants into RFC 3339 text, UTC, to the millisecond.
pub(super) struct Clock {
    anchor: Instant,
    anchor_since_epoch: Duration,
    second: u64,
    /// The text of `second`, up to the fraction.
    text: [u8; SECOND],
}

impl Clock {
    pub(super) fn new(anchor: Instant, wall: SystemTime) -> Self {
        let mut clock = Self { anchor, anchor_since_epoch: Duration::ZERO, second: 0, text: [0; SECOND] };
        clock.set(anchor, wall);
        clock.text = text_of(0);
        clock
    }

    /// What the wall clock shows at `anchor`. Before 1970 counts as 1970.
    pub(super) fn set(&mut self, anchor: Instant, wall: SystemTime) {
        self.anchor = anchor;
        self.anchor_since_epoch = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    }

    /// Appends `2026-01-31T12:34:56.789Z`.
    pub(super) fn append_to(&mut self, line: &mut Vec<u8>, at: Instant) {
        let since_epoch = match at.checked_duration_since(self.anchor) {
            Some(after) => self.anchor_since_epoch.saturating_add(after),
            None => self.anchor_since_epoch.saturating_sub(self.anchor.duration_since(at)),
        };
        if since_epoch.as_secs() != self.second {
            self.second = since_epoch.as_secs();
            self.text = text_of(self.second);
        }
        let millis = since_epoch.subsec_millis();
        let digit = |divisor| b'0' + (millis / divisor % 10) as u8;
        line.extend_from_slice(&self.text);
        line.extend_from_slice(&[b'.', digit(100), digit(10), digit(1), b'Z']);
    }
}

fn text_of(second: u64) -> [u8; SECOND] {
    let second = i64::try_from(second).ok().and_then(|second| Timestamp::from_second(second).ok());
    let text = second.unwrap_or(Timestamp::MAX).to_string();
    let mut start = [0; SECOND];
    start.copy_from_slice(&text.as_bytes()[..SECOND]);
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(clock: &mut Clock, at: Instant) -> String {
        let mut line = Vec::new();
        clock.append_to(&mut line, at);
        String::from_utf8(line).expect("dates are ASCII")
    }

    #[test]
    fn instants_become_utc_to_the_millisecond() {
        let before = crate::clock::now();
        let anchor = before + Duration::from_secs(1);
        let mut clock = Clock::new(anchor, UNIX_EPOCH + Duration::from_millis(1_709_251_199_250)); // leap day
        assert_eq!(text(&mut clock, anchor), "2024-02-29T23:59:59.250Z");
        assert_eq!(text(&mut clock, anchor + Duration::from_micros(749_999)), "2024-02-29T23:59:59.999Z");
        assert_eq!(text(&mut clock, anchor + Duration::from_millis(755)), "2024-03-01T00:00:00.005Z");
        assert_eq!(text(&mut clock, before), "2024-02-29T23:59:58.250Z");
        clock.set(anchor, UNIX_EPOCH);
        assert_eq!(text(&mut clock, anchor), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(&mut clock, before), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_clock_far_out_stops_at_the_last_date() {
        let anchor = crate::clock::now();
        let mut clock = Clock::new(anchor, UNIX_EPOCH + Duration::from_secs(400_000_000_000));
        assert!(text(&mut clock, anchor).starts_with("9999-12-30T"));
    }
}
