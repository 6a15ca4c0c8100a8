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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_went_in_comes_out_in_order() {
        let (mut source, from) = UnixStream::pair().expect("two ends");
        let (to, mut sink) = UnixStream::pair().expect("two ends");
        let mut lent = Rc::<Pipes>::default().lend().expect("a pipe");
        let pipe = lent.pipe();
        for piece in [&b"the first piece"[..], b"and another"] {
            source.write_all(piece).expect("it is open");
            // No more than was asked for.
            assert_eq!(pipe.fill(&from, 4).expect("there is something"), 4);
            assert_eq!(pipe.drain(&to).expect("there is room"), 4);
            assert!(pipe.is_empty());
            assert_eq!(pipe.fill(&from, 1000).expect("the rest"), piece.len() - 4);
            assert_eq!(pipe.drain(&to).expect("there is room"), piece.len() - 4);
            let mut read = vec![0; piece.len()];
            sink.read_exact(&mut read).expect("all of it");
            assert_eq!(read, piece);
        }
        from.set_nonblocking(true).expect("an option");
        let nothing = pipe.fill(&from, 1000).expect_err("nothing is there");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop(source);
        assert_eq!(pipe.fill(&from, 1000).expect("an end"), 0);
    }

    #[test]
    fn pipes_are_bounded_and_a_dirty_one_is_not_lent_again() {
        let pipes = Rc::<Pipes>::default();
        let all: Vec<Lent> = std::iter::from_fn(|| pipes.lend()).collect();
        assert_eq!(all.len(), MOST_PIPES);
        drop(all);
        assert_eq!((pipes.lent.get(), pipes.idle.borrow().len()), (0, MOST_PIPES));

        let (mut source, from) = UnixStream::pair().expect("two ends");
        source.write_all(b"somebody's").expect("it is open");
        let mut lent = pipes.lend().expect("one of them");
        lent.pipe().fill(&from, 1000).expect("there is something");
        drop(lent);
        assert_eq!((pipes.lent.get(), pipes.idle.borrow().len()), (0, MOST_PIPES - 1), "that one is gone");
    }
}
