//! When the next question to a database may be sent: at once when there is little to ask, later the more there is.
//!
//! One question serves everyone who asked before it was sent. So under load it pays to let a few gather: the pause from one
//! question to the next grows with the rate of those who ask, up to [`MOST`]. Who asks after a quiet moment never waits.
//!
//! At 2,000 writes a second a question serves twelve of them and a write waits 3 ms longer on average; below 170 a second the
//! pause is shorter than a timer's step and there is none. Whatever the rate, a database is asked no more than some 400 times
//! a second.

use std::time::Duration;

/// The longest pause from one question to the next.
const MOST: Duration = Duration::from_millis(6);
/// The rate, per second, from which on it is that long.
const BUSY: f64 = 1_000.0;
/// A timer's step: a shorter pause would become one of these.
const LEAST: Duration = Duration::from_millis(1);
/// How much the latest interval counts in the rate.
const WEIGHT: f64 = 0.3;

/// The rate of those who ask one database.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pacing {
    /// Per second, smoothed.
    rate: f64,
    /// Of the latest question, on the caller's clock.
    sent: Option<Duration>,
}

impl Pacing {
    /// How long to wait, from `now`, with the next question.
    pub fn pause(&self, now: Duration) -> Duration {
        let Some(sent) = self.sent else { return Duration::ZERO };
        let interval = MOST.mul_f64((self.rate / BUSY).min(1.0));
        if interval < LEAST { Duration::ZERO } else { (sent + interval).saturating_sub(now) }
    }

    /// A question is sent at `now`, and serves `askers`.
    pub fn sent(&mut self, now: Duration, askers: u64) {
        if let Some(before) = self.sent {
            // Two questions are never closer than a round trip; the bound only keeps the division sane.
            let since = now.saturating_sub(before).max(Duration::from_micros(50));
            self.rate += WEIGHT * (askers as f64 / since.as_secs_f64() - self.rate);
        }
        self.sent = Some(now);
    }
}
