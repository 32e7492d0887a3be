//! The accept loop: connections up to a limit, each served by hyper with deadlines, and drained
//! when the daemon stops.
//!
//! Not here: what a request means. A request goes to the one function that answers it, and an answer
//! that may not be given closes its connection.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::response::Response;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::http::dispatch::Dispatch;
use crate::http::edge::{Edge, EdgeOptions};
use crate::http::reply::NoAnswer;
use crate::http::socket::{Deadlines, Progress, Socket};
use crate::http::webhooks;
use crate::model::Causes;

/// Bytes that a connection buffers: a body is read in pieces of up to this size.
const BUFFER_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a request's head. Clients send less than 2 KiB.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a body that mostly come with their head, so that the library can drop them and go on
/// when the request was refused unread. With a longer one it closes the connection, and the answer
/// must say so: the client would send its retry into a closed connection.
const DROPPED_BYTES_MAX: u64 = 16 * 1024;
/// How long a client may leave an answer unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait before accepting again when the system has no resources for a connection.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Limits of the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    connections_max: usize,
    head_bytes_max: usize,
    idle_timeout: Duration,
    shutdown_grace: Duration,
    deadlines: Deadlines,
}

impl From<&EdgeOptions> for Limits {
    fn from(options: &EdgeOptions) -> Self {
        Self {
            connections_max: options.connections_max.min(Semaphore::MAX_PERMITS),
            head_bytes_max: HEAD_BYTES_MAX,
            idle_timeout: options.idle_timeout,
            shutdown_grace: options.shutdown_grace,
            deadlines: Deadlines { head: options.head_timeout, write: WRITE_TIMEOUT },
        }
    }
}

/// Serves the edge on `listener` until `shutdown` is ready; then accepts no more, lets the requests
/// under way finish within the grace, and returns when every connection is closed.
///
/// # Errors
/// When the listener has no local address.
pub async fn serve(
    listener: TcpListener,
    edge: Arc<Edge>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let limits = Limits::from(&edge.options);
    let dispatch = Arc::new(Dispatch::new(Arc::clone(&edge), listener.local_addr()?));
    let answer = move |request| {
        let dispatch = Arc::clone(&dispatch);
        async move { dispatch.answer(request).await }
    };
    let shutdown = async {
        shutdown.await;
        edge.drain();
    };
    let (stop, stopping) = watch::channel(false);
    let delivering = tokio::spawn(webhooks::deliver(Arc::clone(&edge), stopping));
    accept(listener, limits, answer, shutdown).await;
    stop.send_replace(true);
    if let Err(error) = delivering.await {
        tracing::error!(%error, "send webhooks");
    }
    Ok(())
}

/// Serves `answer` on `listener`; see [`serve`].
pub(crate) async fn accept<A, F>(
    listener: TcpListener,
    limits: Limits,
    answer: A,
    shutdown: impl Future<Output = ()>,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response, NoAnswer>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    while let Some((stream, permit)) = unless(shutdown.as_mut(), next(&listener, &permits)).await {
        while connections.try_join_next().is_some() {}
        let served = connection(stream, limits, answer.clone(), graceful.watcher());
        connections.spawn(async move {
            served.await;
            drop(permit);
        });
    }
    drop(listener);
    if timeout(limits.shutdown_grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests are still under way after the grace; their connections close");
    }
    connections.shutdown().await;
}

async fn connection<A, F>(stream: TcpStream, limits: Limits, answer: A, watcher: Watcher)
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Result<Response, NoAnswer>>,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "set TCP_NODELAY");
    }
    let progress = Arc::new(Progress::default());
    let socket = Socket::new(stream, Arc::clone(&progress), limits.deadlines);
    let service = service_fn(move |request: Request<Incoming>| {
        progress.started();
        let body = request.body();
        let has_body = !body.is_end_stream();
        let is_long = body.size_hint().upper().is_none_or(|bytes| bytes > DROPPED_BYTES_MAX);
        let answered = answer(request);
        let progress = Arc::clone(&progress);
        async move {
            let mut result = answered.await;
            let refusal = result.as_mut().ok().filter(|response| !response.status().is_success());
            progress.answered(has_body && refusal.is_some());
            if let Some(refusal) = refusal
                && (is_long || refusal.status() == StatusCode::REQUEST_TIMEOUT)
            {
                refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            result
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // Counted from the end of the last answer: it is the time a connection may idle.
        .header_read_timeout(limits.idle_timeout)
        .max_header_size(limits.head_bytes_max)
        .max_buf_size(BUFFER_BYTES_MAX)
        .writev(false)
        .serve_connection(TokioIo::new(socket), service);
    if let Err(error) = watcher.watch(served).await {
        // A client's mistake, a time-out, or an answer that may not be given.
        tracing::debug!(error = %Causes(&error), "serve a connection");
    }
}

/// The next connection, once there is room for one more.
async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> (TcpStream, OwnedSemaphorePermit) {
    let permit = Arc::clone(permits).acquire_owned().await.expect("this semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => return (stream, permit),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accept a connection");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// What `future` gives, or nothing once `stop` is ready.
async fn unless<S: Future, F: Future>(mut stop: Pin<&mut S>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|ctx| {
        if stop.as_mut().poll(ctx).is_ready() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(ctx).map(Some)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::SocketAddr;

    use axum::response::IntoResponse;
    use tokio::sync::oneshot;

    use crate::http::body;
    use crate::http::reply::ApiError;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn limits() -> Limits {
        Limits {
            connections_max: 4,
            head_bytes_max: 2_048,
            idle_timeout: HOUR,
            shutdown_grace: HOUR,
            deadlines: Deadlines { head: HOUR, write: HOUR },
        }
    }

    /// Answers by path: `/echo` the body, `/refuse` without reading it, `/lost` not at all.
    async fn answer(request: Request<Incoming>) -> Result<Response, NoAnswer> {
        match request.uri().path() {
            "/refuse" => Ok(ApiError::busy("the queue is full").into_response()),
            "/lost" => Err(NoAnswer),
            _ => Ok(match body::read(request.into_body(), 1 << 20, HOUR).await {
                Ok(bytes) => Response::new(bytes.into()),
                Err(error) => error.into_response(),
            }),
        }
    }

    /// Runs `client` on its own thread against a server, stops the server when it is done, and
    /// waits for both.
    fn with_server<T: Send + 'static>(
        limits: Limits,
        client: impl FnOnce(SocketAddr) -> T + Send + 'static,
    ) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (done, is_done) = oneshot::channel::<()>();
            let client = std::thread::spawn(move || {
                let result = client(address);
                drop(done);
                result
            });
            accept(listener, limits, answer, async { drop(is_done.await) }).await;
            client.join().unwrap()
        })
    }

    fn connect(address: SocketAddr) -> std::net::TcpStream {
        std::net::TcpStream::connect(address).unwrap()
    }

    /// Sends `text`, and gives all that comes back until the server closes.
    fn exchange(address: SocketAddr, text: &[u8]) -> String {
        let mut stream = connect(address);
        stream.write_all(text).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_head_that_cannot_be_read_gets_an_errors_body() {
        let check = |text: String, status: &str, code: &str| {
            let answer = with_server(limits(), move |at| exchange(at, text.as_bytes()));
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["code"], code);
            assert!(body["message"].is_string());
        };
        let header = format!("x: {}\r\n", "y".repeat(3_000));
        let large = format!("GET / HTTP/1.1\r\nhost: a\r\n{header}\r\n");
        check(large, "431", "REQUEST_HEADER_FIELDS_TOO_LARGE");
        let endless = format!("GET / HTTP/1.1\r\nhost: {}", "a".repeat(300_000));
        check(endless, "431", "REQUEST_HEADER_FIELDS_TOO_LARGE");
        let many = "x: y\r\n".repeat(200);
        check(format!("GET / HTTP/1.1\r\n{many}\r\n"), "431", "REQUEST_HEADER_FIELDS_TOO_LARGE");
        check("GE<T / HTTP/1.1\r\n\r\n".to_owned(), "400", "INVALID_REQUEST");
        check("GET / HTTP/1.1\r\na b: c\r\n\r\n".to_owned(), "400", "INVALID_REQUEST");
        let smuggled = "POST /echo HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n";
        check(smuggled.to_owned(), "400", "INVALID_REQUEST");
    }

    #[test]
    fn requests_share_a_connection() {
        let answer = with_server(limits(), |at| {
            let request = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
            let last = "GET /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            exchange(at, format!("{request}{request}{last}").as_bytes())
        });
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3);
        assert_eq!(answer.matches("abc").count(), 2);
    }

    #[test]
    fn a_client_that_still_sends_its_body_gets_to_read_the_refusal() {
        let answer = with_server(limits(), |at| {
            let mut stream = connect(at);
            let head = "POST /refuse HTTP/1.1\r\nhost: a\r\ncontent-length: 4000000\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            // Fails at worst when the server has stopped listening to it.
            let _ = stream.write_all(&vec![b'x'; 4_000_000]);
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("retry-after-ms: 100"));
        // A client that kept the connection would lose its retry.
        assert!(answer.contains("connection: close"), "{answer}");
    }

    #[test]
    fn a_refusal_of_a_small_body_keeps_the_connection() {
        let answer = with_server(limits(), |at| {
            let refused = "POST /refuse HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
            let last = "GET /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            exchange(at, format!("{refused}{refused}{last}").as_bytes())
        });
        assert_eq!(answer.matches("HTTP/1.1 503").count(), 2, "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1, "{answer}");
    }

    #[test]
    fn a_request_without_an_answer_closes_its_connection() {
        let request = b"GET /lost HTTP/1.1\r\nhost: a\r\n\r\n";
        assert_eq!(with_server(limits(), |at| exchange(at, request)), "");
    }

    #[test]
    fn a_head_that_does_not_end_and_an_idle_connection_are_closed() {
        let soon = Duration::from_millis(20);
        let slow = Limits { deadlines: Deadlines { head: soon, write: HOUR }, ..limits() };
        assert_eq!(with_server(slow, |at| exchange(at, b"GET / HTTP/1.1\r\nho")), "");
        let idle = Limits { idle_timeout: soon, ..limits() };
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let answer = with_server(idle, |at| exchange(at, request));
        assert!(answer.starts_with("HTTP/1.1 200 OK"));
    }

    #[test]
    fn an_idle_connection_outlives_the_deadline_of_a_head() {
        let soon = Duration::from_millis(20);
        let limits = Limits { deadlines: Deadlines { head: soon, write: HOUR }, ..limits() };
        let answer = with_server(limits, |at| {
            let mut stream = connect(at);
            let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
            stream.write_all(request).unwrap();
            // Waits for longer than a head may take, without a clock of its own.
            stream.set_read_timeout(Some(Duration::from_millis(60))).unwrap();
            let mut first = [0; 4_096];
            while stream.read(&mut first).is_ok() {}
            stream.set_read_timeout(None).unwrap();
            let last = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            stream.write_all(last).unwrap();
            let mut second = String::new();
            stream.read_to_string(&mut second).unwrap();
            second
        });
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }

    #[test]
    fn connections_above_the_limit_wait() {
        let answer = with_server(Limits { connections_max: 1, ..limits() }, |at| {
            let first = connect(at);
            let mut second = connect(at);
            let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            second.write_all(request).unwrap();
            drop(first);
            let mut answer = String::new();
            second.read_to_string(&mut answer).unwrap();
            answer
        });
        assert!(answer.starts_with("HTTP/1.1 200 OK"));
    }

    #[test]
    fn stopping_lets_a_request_finish_and_gives_up_on_it_after_the_grace() {
        // The client leaves its request open when the server is told to stop.
        let limits = Limits { shutdown_grace: Duration::ZERO, ..limits() };
        let open = with_server(limits, |at| {
            let mut stream = connect(at);
            let head = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na";
            stream.write_all(head).unwrap();
            stream
        });
        let mut open = open;
        let mut answer = Vec::new();
        let _ = open.read_to_end(&mut answer);
        assert!(answer.is_empty());
    }
}
