//! A client's socket with the deadlines and manners that the HTTP library leaves to its user.
//!
//! - A head that has begun must end in time, and an answer must be read in time.
//! - The library answers heads that it cannot parse with an empty body; here they get an error's
//!   usual body. None of our own answers is mistaken for one: they have a body or another status.
//! - When an answer was given before the whole request was read, closing at once would make the
//!   kernel drop the answer. The socket is read to its end for a while first.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::http::reply::ApiError;

/// How long a client may go on sending a request that is answered already.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes that are read and dropped at once while lingering: with few of them a daemon that refuses
/// large bodies does little else.
const LINGER_BYTES: usize = 64 * 1024;
/// The longest answer that the library makes by itself, with room to spare.
const OWN_ANSWER_BYTES_MAX: usize = 256;

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// Deadlines of a socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    /// From a head's first byte to its last.
    pub(crate) head: Duration,
    /// Between two bytes of an answer that the client takes.
    pub(crate) write: Duration,
}

/// What the service tells the socket of the request under way.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    phase: AtomicU8,
    unread: AtomicBool,
}

impl Progress {
    /// A head is complete and its request is being served.
    pub(crate) fn started(&self) {
        self.phase.store(BUSY, Ordering::Relaxed);
        self.unread.store(false, Ordering::Relaxed);
    }

    /// The request has its answer; `unread` says that parts of its body may not have been read.
    pub(crate) fn answered(&self, unread: bool) {
        self.phase.store(IDLE, Ordering::Relaxed);
        self.unread.store(unread, Ordering::Relaxed);
    }

    fn bytes_arrived(&self) {
        // Fails while a request is served: then the bytes are its body.
        let _ = self.phase.compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A socket and its deadlines.
#[derive(Debug)]
pub(crate) struct Socket<S> {
    stream: S,
    progress: Arc<Progress>,
    deadlines: Deadlines,
    head_deadline: Option<Pin<Box<Sleep>>>,
    write_deadline: Option<Pin<Box<Sleep>>>,
    linger_deadline: Option<Pin<Box<Sleep>>>,
    substitute: Option<Substitute>,
}

/// An answer that is being written instead of the library's own.
#[derive(Debug)]
struct Substitute {
    text: Vec<u8>,
    written: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// The socket of `stream`, whose service reports to `progress`.
    pub(crate) fn new(stream: S, progress: Arc<Progress>, deadlines: Deadlines) -> Self {
        Self {
            stream,
            progress,
            deadlines,
            head_deadline: None,
            write_deadline: None,
            linger_deadline: None,
            substitute: None,
        }
    }

    fn write(&mut self, ctx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.substitute.is_none() {
            match own_answer(bytes) {
                None => return Pin::new(&mut self.stream).poll_write(ctx, bytes),
                Some(status) => {
                    self.progress.answered(true);
                    self.substitute = Some(Substitute { text: head_answer(status), written: 0 });
                }
            }
        }
        while let Some(substitute) = &mut self.substitute {
            let rest = substitute.text.get(substitute.written..).unwrap_or_default();
            if rest.is_empty() {
                self.substitute = None;
                break;
            }
            substitute.written += ready!(Pin::new(&mut self.stream).poll_write(ctx, rest))?;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn linger(&mut self, ctx: &mut Context<'_>) -> Poll<()> {
        let mut dropped = vec![MaybeUninit::uninit(); LINGER_BYTES];
        loop {
            let mut buffer = ReadBuf::uninit(&mut dropped);
            match Pin::new(&mut self.stream).poll_read(ctx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => return passed(&mut self.linger_deadline, LINGER, ctx),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let filled_before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(ctx, buffer) {
            if buffer.filled().len() > filled_before {
                this.progress.bytes_arrived();
            }
            return Poll::Ready(result);
        }
        if this.progress.phase.load(Ordering::Relaxed) != HEAD {
            this.head_deadline = None;
            return Poll::Pending;
        }
        let head_deadline = &mut this.head_deadline;
        passed(head_deadline, this.deadlines.head, ctx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Poll::Ready(result) = this.write(ctx, bytes) {
            this.write_deadline = None;
            return Poll::Ready(result);
        }
        let write_deadline = &mut this.write_deadline;
        passed(write_deadline, this.deadlines.write, ctx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(ctx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.stream).poll_shutdown(ctx))?;
        if this.progress.unread.load(Ordering::Relaxed) {
            ready!(this.linger(ctx));
        }
        Poll::Ready(Ok(()))
    }
}

/// Ready once `wait` has passed since the first call that found no deadline set.
fn passed(
    deadline: &mut Option<Pin<Box<Sleep>>>,
    wait: Duration,
    ctx: &mut Context<'_>,
) -> Poll<()> {
    deadline.get_or_insert_with(|| Box::pin(sleep(wait))).as_mut().poll(ctx)
}

/// The status of an answer that the library made by itself: no body, and a status that says that
/// the head could not be read.
fn own_answer(bytes: &[u8]) -> Option<StatusCode> {
    const EMPTY: &[u8] = b"\r\ncontent-length: 0\r\n";
    if bytes.len() > OWN_ANSWER_BYTES_MAX || !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let rest = bytes.strip_prefix(b"HTTP/1.")?;
    let status = StatusCode::from_bytes(rest.get(2..5)?).ok()?;
    let is_about_heads = matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::URI_TOO_LONG
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    let is_empty = bytes.windows(EMPTY.len()).any(|window| window == EMPTY);
    (is_about_heads && is_empty).then_some(status)
}

fn head_answer(status: StatusCode) -> Vec<u8> {
    let error = ApiError::head(status);
    let body = serde_json::to_string(error.body()).expect("two texts are JSON");
    let length = body.len();
    format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}",
        error.status(),
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_answer_about_a_head_is_the_librarys_own() {
        let check = |text: &str, expected: Option<u16>| {
            assert_eq!(own_answer(text.as_bytes()).map(|status| status.as_u16()), expected);
        };
        check(
            "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n",
            Some(431),
        );
        check("HTTP/1.0 400 Bad Request\r\ncontent-length: 0\r\n\r\n", Some(400));
        check("HTTP/1.1 414 URI Too Long\r\ncontent-length: 0\r\n\r\n", Some(414));
        check("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", None);
        check("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}", None);
        check("HTTP/1.1 4", None);
        check("", None);
        check("{\"a\":\"HTTP/1.1 400 \\r\\ncontent-length: 0\\r\\n\\r\\n\"}", None);
    }

    #[test]
    fn the_answer_about_a_head_has_the_usual_body() {
        let text = String::from_utf8(head_answer(StatusCode::URI_TOO_LONG)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 414 URI Too Long\r\n"));
        assert!(head.contains(&format!("content-length: {}", body.len())));
        let expected = r#"{"code":"URI_TOO_LONG","message":"the request's URI is too long"}"#;
        assert_eq!(body, expected);
    }
}
