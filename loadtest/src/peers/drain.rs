//! Receives `HAProxy`'s log lines and puts them in a file, as a syslog daemon would, on the load's core.
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

/// How long the receiver waits before it looks whether it should end.
const TICK: Duration = Duration::from_millis(20);

/// A receiver on a thread of its own; [`Drain::finish`] ends it.
pub(super) struct Drain {
    thread: JoinHandle<std::io::Result<()>>,
    over: Arc<AtomicBool>,
}

impl Drain {
    /// Takes one TCP connection.
    pub(super) fn tcp(file: &Path) -> Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for the log")?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let file = File::create(file)?;
        let drain = Self::run(move |over| {
            let mut stream = loop {
                match listener.accept() {
                    Ok((stream, _)) => break stream,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TICK),
                    Err(error) => return Err(error),
                }
                if over.load(Ordering::Relaxed) {
                    return Ok(());
                }
            };
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(TICK))?;
            copy(file, over, b"", |chunk| stream.read(chunk))
        });
        Ok((drain, address))
    }

    /// Takes datagrams, a line each.
    pub(super) fn datagram(file: &Path) -> Result<(Self, PathBuf)> {
        let path = file.with_extension("socket");
        let socket = UnixDatagram::bind(&path).with_context(|| format!("binding {}", path.display()))?;
        socket.set_read_timeout(Some(TICK))?;
        let file = File::create(file)?;
        let drain = Self::run(move |over| copy(file, over, b"\n", |chunk| socket.recv(chunk)));
        Ok((drain, path))
    }

    /// Waits until what has been sent is in the file. Call it when the sender has ended.
    pub(super) fn finish(self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the log's receiver panicked"))?.context("receiving the log")
    }

    fn run(work: impl FnOnce(&AtomicBool) -> std::io::Result<()> + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        Self { thread: thread::spawn(move || work(&seen)), over }
    }
}

/// Until the sender closes, or is said to be over and nothing more comes.
fn copy(
    file: File,
    over: &AtomicBool,
    after_each: &[u8],
    mut receive: impl FnMut(&mut [u8]) -> std::io::Result<usize>,
) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(64 * 1024, file);
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match receive(&mut chunk) {
            Ok(0) => return file.flush(),
            Ok(n) => {
                file.write_all(&chunk[..n])?;
                if !chunk[..n].ends_with(after_each) {
                    file.write_all(after_each)?;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if over.load(Ordering::Relaxed) {
                    return file.flush();
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
