//! `quipu clock confirm`: one request to a running daemon.

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::header::{AUTHORIZATION, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What the daemon said.
#[derive(Debug)]
pub enum Confirmed {
    /// It took the confirmation; this is its clock, as JSON.
    Yes(String),
    /// It answered something else.
    Refused {
        /// The status code.
        status: u16,
        /// The body.
        body: String,
    },
}

/// Tells the daemon at `server` (`http://host:port`) that its wall clock is right.
///
/// # Errors
/// When it cannot be reached or does not answer.
pub fn confirm(server: &str, key: &str) -> anyhow::Result<Confirmed> {
    let address = server.trim_start_matches("http://").trim_end_matches('/');
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(send(address, key)).with_context(|| format!("ask the daemon at {server}"))
}

async fn send(address: &str, key: &str) -> anyhow::Result<Confirmed> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends by itself when the answer was read.
    tokio::spawn(connection);
    let request = Request::post("/clock/confirm")
        .header(HOST, address)
        .header(AUTHORIZATION, format!("Bearer {key}"))
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(if status.is_success() {
        Confirmed::Yes(body)
    } else {
        Confirmed::Refused { status: status.as_u16(), body }
    })
}
