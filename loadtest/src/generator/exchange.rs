//! One request on a connection of its own, with all that is to be seen of it: for checks before a measurement.
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::answer::Answer;
use super::hpack::{Blocks, Encoder};
use super::http2::{Done, Session};
use super::link::Manner;
use super::origin::Seen;
use super::secure::Secure;
use super::wire::{Wire, is_not_yet};
use super::{Rig, Tally};

/// Between two looks at a connection that nothing announces.
const PAUSE: Duration = Duration::from_millis(1);

/// One answer, and the request as it reached the upstream (not at all when the proxy answered itself).
#[derive(Debug)]
pub struct Exchange {
    /// Over HTTP/2 without its header fields.
    pub answer: Answer,
    pub upstream_saw: Option<Seen>,
}

impl Rig {
    /// Sends `request`, an HTTP/1.1 head whatever the manner, and waits for the answer. Fails when TLS does not come
    /// out as the manner demands, or no answer comes `within` the time.
    pub fn exchange(
        &mut self,
        target: SocketAddr,
        request: &[u8],
        manner: &Manner,
        within: Duration,
    ) -> Result<Exchange> {
        let deadline = Instant::now() + within;
        let wire = Wire::connect(target, manner.secure())?;
        self.origin.record(true);
        let answer = match manner {
            Manner::Http2(secure, _) => {
                let mut session = Session::new(wire, 1, true);
                let blocks = Encoder::new().blocks(request)?;
                let done = self.over_http2(&mut session, secure, &blocks, deadline)?;
                session.wire().check(secure)?;
                Answer { status: done.status, head: String::new(), body: done.body }
            }
            manner => {
                let mut wire = wire;
                let answer = self.over_http1(&mut wire, request, deadline)?;
                if let Some(secure) = manner.secure() {
                    wire.check(secure)?;
                }
                wire.farewell();
                answer
            }
        };
        let upstream_saw = self.origin.recorded();
        self.origin.record(false);
        Ok(Exchange { answer, upstream_saw })
    }

    fn over_http1(&mut self, wire: &mut Wire, request: &[u8], deadline: Instant) -> Result<Answer> {
        let mut sent = 0;
        let mut received = Vec::new();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            while sent < request.len() {
                match wire.write(&request[sent..]) {
                    Ok(n) => sent += n,
                    Err(error) if is_not_yet(&error) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            wire.flush()?;
            match wire.read(&mut chunk) {
                Ok(0) => {
                    bail!("closed after {} bytes: {:?}", received.len(), String::from_utf8_lossy(&received))
                }
                Ok(n) => received.extend_from_slice(&chunk[..n]),
                Err(error) if is_not_yet(&error) => self.wait(deadline)?,
                Err(error) => return Err(error.into()),
            }
            if let Some(answer) = Answer::parse(&received)? {
                return Ok(answer);
            }
        }
    }

    fn over_http2(
        &mut self,
        session: &mut Session,
        secure: &Secure,
        request: &Blocks,
        deadline: Instant,
    ) -> Result<Done> {
        let mut chunk = vec![0; 64 * 1024];
        let mut done = Vec::new();
        let body = self.workload.body().to_vec();
        loop {
            session.flush().context("sending")?;
            if let Err(fault) = session.receive(&mut chunk, &body, &mut done) {
                // Another protocol than was asked for is the likeliest reason.
                session.wire().check(secure)?;
                bail!("the HTTP/2 connection failed: {}", fault.name());
            }
            if session.has_room() && done.is_empty() {
                session.begin(request, Instant::now());
            }
            if let Some(done) = done.pop() {
                return Ok(done);
            }
            self.wait(deadline)?;
        }
    }

    /// Lets the upstream do its part for a moment.
    fn wait(&mut self, deadline: Instant) -> Result<()> {
        if Instant::now() > deadline {
            bail!("no complete answer in time");
        }
        self.turn(PAUSE, &mut Tally::new())?;
        // Connections that are not registered wake nobody up; the loop above returns at once when others do.
        thread::yield_now();
        Ok(())
    }
}
