//! Bodies in pieces, with pauses between them, trailers behind them, or an end that never comes.
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// A body that is sent.
#[derive(Default)]
pub(super) struct Pieces {
    steps: VecDeque<Step>,
    /// Bytes still to come, when their number is said before.
    length: Option<u64>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// What a body does next.
#[derive(Debug)]
pub(super) enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Pause(Duration),
    /// Fails, so that the connection ends here.
    BreakOff,
}

impl Pieces {
    /// One piece, its length said before.
    pub(super) fn whole(bytes: Bytes) -> Self {
        let length = Some(bytes.len() as u64);
        let steps = if bytes.is_empty() { VecDeque::new() } else { [Step::Data(bytes)].into() };
        Self { steps, length, pause: None }
    }

    /// In at most `count` chunks, their lengths said by none.
    pub(super) fn chunked(bytes: &Bytes, count: usize) -> Self {
        let mut pieces = Self::default();
        let size = bytes.len().div_ceil(count.max(1)).max(1);
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            pieces.push(Step::Data(rest.split_to(size.min(rest.len()))));
        }
        pieces
    }

    /// Says `length` bytes before, whatever follows.
    pub(super) fn promising(mut self, length: u64) -> Self {
        self.length = Some(length);
        self
    }

    pub(super) fn push(&mut self, step: Step) {
        self.steps.push_back(step);
    }

    /// The last step is never taken; `step` is in its place.
    pub(super) fn end_with(&mut self, step: Step) {
        self.steps.pop_back();
        self.steps.push_back(step);
    }

    /// Waits before the last step.
    pub(super) fn pause_before_end(&mut self, pause: Duration) {
        let end = self.steps.len().saturating_sub(1);
        self.steps.insert(end, Step::Pause(pause));
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(context));
                self.pause = None;
            }
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Pause(pause)) => self.pause = Some(Box::pin(sleep(pause))),
                Some(Step::Data(bytes)) => {
                    let sent = bytes.len() as u64;
                    self.length = self.length.map(|left| left.saturating_sub(sent));
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Some(Step::BreakOff) => {
                    return Poll::Ready(Some(Err(io::Error::other("broken off on purpose"))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && self.pause.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
