//! Connections to receivers: a name is resolved here, its addresses are judged, and one of those that may
//! be reached is connected to. So nothing can be asked twice and answered differently.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tower::Service;

use super::{address, url};

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;
/// How long the connection to one of several addresses may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Why a receiver was not connected to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The URL names no host.
    #[error("the URL names no host")]
    NoHost,
    /// The name stands for no address.
    #[error("{0} cannot be resolved")]
    Unresolved(String, #[source] Option<io::Error>),
    /// Its addresses may not be reached.
    #[error("{host} is {address}, which is {reason}: messages go to public addresses alone")]
    Refused {
        /// The host.
        host: String,
        /// One of its addresses.
        address: IpAddr,
        /// What that is.
        reason: &'static str,
    },
    /// Without TLS only the machine itself is reached.
    #[error("http:// is only for this machine, and {host} is {address}")]
    NotLoopback {
        /// The host.
        host: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// Nobody answers there.
    #[error("connect to {0}")]
    Unreachable(SocketAddr, #[source] io::Error),
}

/// Connects to receivers that may be reached.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connector {
    /// Whether the machine itself may be reached.
    pub(super) allow_loopback: bool,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = *self;
        Box::pin(async move { connector.connect(&uri).await.map(TokioIo::new) })
    }
}

impl Connector {
    async fn connect(self, uri: &Uri) -> Result<TcpStream, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let is_plain = uri.scheme_str() == Some("http");
        let port = uri.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
        let addresses: Vec<SocketAddr> = match url::literal(host) {
            Some(address) => vec![(address, port).into()],
            None => match lookup_host((host, port)).await {
                Ok(found) => found.collect(),
                Err(error) => {
                    return Err(ConnectError::Unresolved(host.to_owned(), Some(error)));
                }
            },
        };
        let allowed = self.allowed(host, &addresses, is_plain)?;
        let mut failed = None;
        for address in allowed.iter().take(ADDRESSES_MAX) {
            let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
            let connected =
                connecting.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            match connected {
                Ok(stream) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "set TCP_NODELAY");
                    }
                    return Ok(stream);
                }
                Err(error) => failed = Some(ConnectError::Unreachable(*address, error)),
            }
        }
        Err(failed.unwrap_or_else(|| ConnectError::Unresolved(host.to_owned(), None)))
    }

    /// Those of a host's addresses that may be reached.
    fn allowed(
        self,
        host: &str,
        addresses: &[SocketAddr],
        is_plain: bool,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        let mut refused = None;
        let mut allowed = Vec::new();
        for socket in addresses {
            let (address, host) = (socket.ip(), host.to_owned());
            if let Some(reason) = address::refusal(address, self.allow_loopback) {
                refused = Some(ConnectError::Refused { host, address, reason });
            } else if is_plain && address::refusal(address, false).is_none() {
                refused = Some(ConnectError::NotLoopback { host, address });
            } else {
                allowed.push(*socket);
            }
        }
        match refused {
            Some(refused) if allowed.is_empty() => Err(refused),
            Some(_) | None => Ok(allowed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        addresses: &[&str],
        (allow_loopback, is_plain): (bool, bool),
        expected: Option<&[&str]>,
    ) {
        let sockets = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| (text.parse::<IpAddr>().unwrap(), 1).into()).collect()
        };
        let connector = Connector { allow_loopback };
        let found = connector.allowed("a.example", &sockets(addresses), is_plain);
        assert_eq!(found.ok(), expected.map(sockets), "{addresses:?}");
    }

    #[test]
    fn of_the_addresses_of_a_name_only_those_count_that_may_be_reached() {
        let (secure, local, plain) = ((false, false), (true, false), (true, true));
        check(&["8.8.8.8", "1.1.1.1"], secure, Some(&["8.8.8.8", "1.1.1.1"]));
        check(&["10.0.0.1", "8.8.8.8", "::1"], secure, Some(&["8.8.8.8"]));
        check(&["10.0.0.1"], secure, None);
        check(&["127.0.0.1"], secure, None);
        check(&["::ffff:169.254.169.254"], local, None);
        check(&["127.0.0.1", "::1"], local, Some(&["127.0.0.1", "::1"]));
        check(&["127.0.0.1", "8.8.8.8"], plain, Some(&["127.0.0.1"]));
        check(&["8.8.8.8"], plain, None);
        check(&[], secure, Some(&[]));
    }
}
