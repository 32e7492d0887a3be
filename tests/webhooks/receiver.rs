//! A receiver of webhooks that does what it is told: answers, hangs, breaks off, redirects, with TLS or
//! without.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::common::wait_until;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The name that the client asked for, with TLS.
    pub(crate) server_name: Option<String>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let value = found.next().unwrap_or_else(|| panic!("no {name} in {self:?}"));
        assert!(found.next().is_none(), "two {name} in {self:?}");
        &value.1
    }

    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Which of the signatures is of this secret.
    pub(crate) fn signed_by(&self, secret: &str) -> Option<usize> {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.", self.id(), self.header("webhook-timestamp")).as_bytes());
        mac.update(&self.body);
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature").split(' ').position(|found| found == expected)
    }
}

/// What a receiver does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Does {
    /// Answers with this status, this more in the head, and this body.
    Answers(u16, String, Vec<u8>),
    /// Says nothing until the client goes away.
    Hangs,
    /// Closes the connection without a word.
    Breaks,
}

impl Does {
    pub(crate) fn answers(status: u16) -> Self {
        Self::Answers(status, String::new(), b"so be it".to_vec())
    }
}

type Behaviour = Arc<dyn Fn(&Got) -> Does + Send + Sync>;

/// A receiver that listens until it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    stopped: Arc<AtomicBool>,
}

impl Receiver {
    pub(crate) fn start(does: impl Fn(&Got) -> Does + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), None, does)
    }

    /// One at the address of another that is gone.
    pub(crate) fn at(
        address: SocketAddr,
        does: impl Fn(&Got) -> Does + Send + Sync + 'static,
    ) -> Self {
        let listener = wait_until("the address is free", || TcpListener::bind(address).ok());
        Self::on(listener, None, does)
    }

    pub(crate) fn with_tls(
        config: ServerConfig,
        does: impl Fn(&Got) -> Does + Send + Sync + 'static,
    ) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), Some(Arc::new(config)), does)
    }

    fn on(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        does: impl Fn(&Got) -> Does + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let (got, stopped) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let receiver = Self { address, got: Arc::clone(&got), stopped: Arc::clone(&stopped) };
        let does: Behaviour = Arc::new(does);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let (got, tls, stopped) = (Arc::clone(&got), tls.clone(), Arc::clone(&stopped));
                let does = Arc::clone(&does);
                let does: Behaviour = Arc::new(move |got| {
                    // What is open when it is killed is open no more.
                    if stopped.load(Ordering::Acquire) { Does::Breaks } else { does(got) }
                });
                std::thread::spawn(move || {
                    stream.and_then(|stream| serve(stream, tls, &got, &does))
                });
            }
        });
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks?a=b", self.address)
    }

    /// What has come so far, in the order of arrival.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got_behind(0)
    }

    /// The same without the first ones.
    pub(crate) fn got_behind(&self, count: usize) -> Vec<Got> {
        self.got.lock().unwrap()[count..].to_vec()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address));
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    got: &Mutex<Vec<Got>>,
    does: &Behaviour,
) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    stream.set_nodelay(true)?;
    match tls {
        None => converse(&mut BufReader::new(stream), got, does, |_| None),
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            let mut stream = BufReader::new(StreamOwned::new(connection, stream));
            converse(&mut stream, got, does, |stream| {
                stream.get_ref().conn.server_name().map(str::to_owned)
            })
        }
    }
}

fn converse<S: Read + Write>(
    stream: &mut BufReader<S>,
    got: &Mutex<Vec<Got>>,
    does: &Behaviour,
    server_name: impl Fn(&BufReader<S>) -> Option<String>,
) -> io::Result<()> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, value)| value.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let request = Got { path, headers, body, server_name: server_name(stream) };
        let does = does(&request);
        got.lock().unwrap().push(request);
        match does {
            Does::Answers(status, more, body) => {
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status} So\r\ncontent-length: {length}\r\n{more}\r\n");
                stream.get_mut().write_all(&[head.as_bytes(), &body].concat())?;
                stream.get_mut().flush()?;
            }
            Does::Hangs => {
                let mut nothing = [0; 1];
                drop(stream.read(&mut nothing));
                return Ok(());
            }
            Does::Breaks => return Ok(()),
        }
    }
}
