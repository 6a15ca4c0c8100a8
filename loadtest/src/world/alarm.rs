//! Waiting to the tenth of a millisecond: tokio's own timers go by whole ones, and a link of 2 ms one way would take 3.
use std::{
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    time::Duration,
};

use nix::{
    sys::{
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    unistd::read,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::Instant,
};

/// A timer of the kernel's, for one wait after the other.
pub(crate) struct Alarm(AsyncFd<Timer>);

/// What tokio asks for and `nix` doesn't say of its own.
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    /// Within a runtime. Fails where there are no descriptors left.
    #[expect(
        deprecated,
        reason = "its successor is unsafe: it trusts that the descriptor stays, which `Timer` sees to"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        Ok(Self(AsyncFd::with_interest(Timer(timer), Interest::READABLE)?))
    }

    /// Not before that moment, and hardly after it.
    pub(crate) async fn at(&mut self, moment: Instant) -> io::Result<()> {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        self.0.get_ref().0.set(Expiration::OneShot(TimeSpec::from(left)), TimerSetTimeFlags::empty())?;
        let expired = |timer: &Timer| read(timer.0.as_fd(), &mut [0; 8]).map_err(io::Error::from);
        self.0.async_io(Interest::READABLE, expired).await.map(drop)
    }

    pub(crate) async fn after(&mut self, delay: Duration) -> io::Result<()> {
        self.at(Instant::now() + delay).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_alarm_rings_again_and_again_and_never_early() {
        let mut alarm = Alarm::new().expect("a timer");
        for micros in [0, 1, 300, 2_000, 700] {
            let begun = Instant::now();
            alarm.after(Duration::from_micros(micros)).await.expect("it rings");
            assert!(begun.elapsed() >= Duration::from_micros(micros), "{micros} µs");
        }
        alarm.at(Instant::now() - Duration::from_millis(1)).await.expect("it has passed");
    }
}
