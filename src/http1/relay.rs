//! Large bodies from socket to socket, past this process: splice(2) hands the pages of one to the other by way of a pipe, and
//! nothing is copied. Half of what a megabyte cost was copying it in and out (`benches/TRIED.md`).
//!
//! Invariants
//! - What is in a pipe belongs to one body. A pipe that is given back is empty; any other is closed.
//! - Pipes are bounded: a body for which there is none is copied, as small ones are.
//!
//! Absent by design: TLS, whose bytes have to pass through, and bodies whose length is not known.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// With less to come a copy is cheaper than the pipe's system calls.
pub(super) const LEAST: u64 = 128 * 1024;

/// What a pipe holds. Linux lets any user have this much, for as many pipes as are lent here.
const PIPE_BYTES: usize = 512 * 1024;

/// Pipes at once, for one worker. Linux gives a user's pipes 64 MiB before it makes new ones small.
const MOST_PIPES: usize = 48;

/// Pipes of one worker.
#[derive(Debug, Default)]
pub struct Pipes {
    idle: RefCell<Vec<Pipe>>,
    lent: std::cell::Cell<usize>,
}

/// The two ends of a pipe, and what is in it.
#[derive(Debug)]
pub(super) struct Pipe {
    outlet: OwnedFd,
    inlet: OwnedFd,
    held: usize,
}

/// A pipe that goes back when nothing is in it.
#[derive(Debug)]
pub(super) struct Lent {
    pipe: Option<Pipe>,
    pipes: Rc<Pipes>,
}

impl Pipes {
    /// A pipe, unless too many are out or there is none to be had.
    pub(super) fn lend(self: &Rc<Self>) -> Option<Lent> {
        if self.lent.get() >= MOST_PIPES {
            return None;
        }
        let idle = self.idle.borrow_mut().pop();
        let pipe = match idle {
            Some(pipe) => pipe,
            None => Pipe::open().ok()?,
        };
        self.lent.set(self.lent.get() + 1);
        Some(Lent { pipe: Some(pipe), pipes: Rc::clone(self) })
    }
}

impl Lent {
    pub(super) fn pipe(&mut self) -> &mut Pipe {
        self.pipe.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.pipes.lent.set(self.pipes.lent.get() - 1);
        if let Some(pipe) = self.pipe.take().filter(Pipe::is_empty) {
            self.pipes.idle.borrow_mut().push(pipe);
        }
    }
}

impl Pipe {
    fn open() -> io::Result<Self> {
        let (outlet, inlet) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // A smaller one does the same in more steps.
        let _ = fcntl_setpipe_size(&inlet, PIPE_BYTES);
        Ok(Self { outlet, inlet, held: 0 })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes up to `most` bytes from a socket; 0 at its end. Only while the pipe is empty: else nobody could say whether it is
    /// the pipe or the socket that has to be waited for.
    pub(super) fn fill(&mut self, from: impl AsFd, most: u64) -> io::Result<usize> {
        debug_assert!(self.is_empty(), "what is in it goes first");
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(PIPE_BYTES);
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let count = splice(from, None, &self.inlet, None, most, flags)?;
        self.held = count;
        Ok(count)
    }

    /// Gives what it holds to a socket.
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        let count = splice(&self.outlet, None, to, None, self.held, flags)?;
        self.held -= count;
        Ok(count)
    }
}
