//! One connection of the generator: sends a request, takes its answer, without ever blocking.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::bench::answer::{self, Answer};
use crate::bench::source::Request;

/// Bytes taken from the socket at once: any answer to an ingest request.
const READ_BYTES: usize = 4 * 1024;

/// A connection with its request.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    /// What is sent; to be filled while the connection is idle.
    pub(crate) request: Request,
    /// When the request under way began, or fell due; nothing while the connection is idle.
    pub(crate) began: Option<Duration>,
    /// The request was refused: what is sent next is the same again, as a client would.
    pub(crate) is_refused: bool,
    sent_bytes: usize,
    received: Vec<u8>,
}

/// What the last step brought.
#[derive(Debug)]
pub(crate) enum Step<T> {
    /// The answer is not there yet.
    Waiting,
    /// The answer is there, and the connection idle.
    Done(T),
    /// There will be no answer: what became of the request is unknown.
    Broken,
}

impl Connection {
    /// A connection to `server` that sends `request`.
    ///
    /// # Errors
    /// When the server does not take it.
    pub(crate) fn open(server: SocketAddr, request: Request) -> io::Result<Self> {
        let stream = connect(server)?;
        let received = Vec::with_capacity(READ_BYTES);
        Ok(Self { stream, request, began: None, is_refused: false, sent_bytes: 0, received })
    }

    /// Replaces the socket by a new one; the request is kept.
    ///
    /// # Errors
    /// When the server does not take it.
    pub(crate) fn reopen(&mut self, server: SocketAddr) -> io::Result<()> {
        self.stream = connect(server)?;
        Ok(())
    }

    /// Starts to send the request, which counts from `began`.
    pub(crate) fn begin(&mut self, began: Duration) {
        self.began = Some(began);
        self.sent_bytes = 0;
        self.received.clear();
        self.write();
    }

    /// Goes on after the socket became ready; gives what `take` makes of the answer.
    pub(crate) fn advance<T>(
        &mut self,
        is_readable: bool,
        take: impl FnOnce(&Request, &Answer<'_>) -> T,
    ) -> Step<T> {
        self.write();
        if !is_readable {
            return Step::Waiting;
        }
        let is_open = self.read();
        match answer::parse(&self.received) {
            Ok(Some(answer)) => {
                self.began = None;
                Step::Done(take(&self.request, &answer))
            }
            Ok(None) if is_open => Step::Waiting,
            Ok(None) | Err(_) => {
                self.began = None;
                Step::Broken
            }
        }
    }

    /// Sends as much as the socket takes.
    fn write(&mut self) {
        if self.began.is_none() {
            return;
        }
        let bytes = &self.request.bytes;
        while let Some(rest) = bytes.get(self.sent_bytes..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.sent_bytes += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // A refusal may stand in the socket; whether there is an answer decides.
                Err(_) => self.sent_bytes = bytes.len(),
            }
        }
    }

    /// Takes what has arrived; false when nothing more will come.
    fn read(&mut self) -> bool {
        loop {
            let mut piece = [0; READ_BYTES];
            match self.stream.read(&mut piece) {
                Ok(0) => return false,
                Ok(count) => {
                    self.received.extend_from_slice(piece.get(..count).unwrap_or_default());
                    // The socket tells again when more arrives.
                    if count < READ_BYTES {
                        return true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
