//! Which names the daemon answers to.
//!
//! A page in a browser can make a name of its own point at 127.0.0.1 and talk to this daemon as if
//! it were the page's origin. The browser still sends that name as `Host`, so requests under a name
//! that nobody configured are refused, before routing and for every route.

use std::net::SocketAddr;

use hyper::header::HOST;
use hyper::{HeaderMap, StatusCode, Uri};

use crate::http::reply::{self, ApiError};

/// The names a request may be sent to.
#[derive(Clone, Debug)]
pub(crate) struct HostList {
    /// In lower case, with port where it is not 80.
    names: Vec<String>,
}

impl HostList {
    /// The loopback names and the address itself with the port of `address`, and `names`: each as it
    /// stands, and one without a port also with the port of `address`.
    pub(crate) fn new(address: SocketAddr, names: &[String]) -> Self {
        let port = address.port();
        let mut hosts = vec!["127.0.0.1".to_owned(), "localhost".to_owned(), "[::1]".to_owned()];
        if !address.ip().is_unspecified() {
            hosts.push(match address {
                SocketAddr::V4(address) => address.ip().to_string(),
                SocketAddr::V6(address) => format!("[{}]", address.ip()),
            });
        }
        let mut allowed: Vec<_> = hosts.iter().map(|host| format!("{host}:{port}")).collect();
        if port == 80 {
            // Clients leave out the scheme's own port.
            allowed.append(&mut hosts);
        }
        for name in names {
            let name = name.to_ascii_lowercase();
            if !has_port(&name) {
                allowed.push(format!("{name}:{port}"));
            }
            allowed.push(name);
        }
        Self { names: allowed }
    }

    /// Whether a request with this target and these headers was sent to one of the names.
    ///
    /// # Errors
    /// 400 when `Host` is missing or stands twice, 403 when it or the target names another host.
    pub(crate) fn check(&self, target: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let Ok(Some(host)) = reply::single(headers, HOST) else {
            let message = "a request needs exactly one Host header";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message));
        };
        let authority = target.authority().map(hyper::http::uri::Authority::as_str);
        if self.allows(host) && authority.is_none_or(|authority| self.allows(authority)) {
            return Ok(());
        }
        let message = "this daemon does not answer to that Host; `listen.hosts` adds names";
        Err(ApiError::new(StatusCode::FORBIDDEN, "FORBIDDEN", message))
    }

    fn allows(&self, host: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

fn has_port(name: &str) -> bool {
    // The last colon of a bare `[::1]` stands inside its brackets.
    name.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn check(target: &str, hosts: &[&'static str], expected: Result<(), u16>) {
        let names = ["Usage.internal".to_owned(), "proxy.internal:9000".to_owned()];
        let list = HostList::new("127.0.0.1:4646".parse().unwrap(), &names);
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_static(host));
        }
        let found = list.check(&target.parse().unwrap(), &headers);
        assert_eq!(found.map_err(|error| error.status().as_u16()), expected, "{target} {hosts:?}");
    }

    #[test]
    fn loopback_and_configured_names_pass() {
        for host in [
            "127.0.0.1:4646",
            "localhost:4646",
            "LOCALHOST:4646",
            "[::1]:4646",
            "usage.internal",
            "usage.internal:4646",
            "proxy.internal:9000",
        ] {
            check("/healthz", &[host], Ok(()));
        }
        check("http://127.0.0.1:4646/meters", &["127.0.0.1:4646"], Ok(()));
    }

    #[test]
    fn other_names_are_refused_in_header_and_target() {
        for host in
            ["evil.example", "evil.example:4646", "127.0.0.1", "127.0.0.1:80", "proxy.internal", ""]
        {
            check("/events/ingest", &[host], Err(403));
        }
        check("http://evil.example/meters", &["127.0.0.1:4646"], Err(403));
        check("http://user@127.0.0.1:4646/meters", &["127.0.0.1:4646"], Err(403));
    }

    #[test]
    fn no_host_or_two_are_malformed() {
        check("/healthz", &[], Err(400));
        check("http://127.0.0.1:4646/meters", &[], Err(400));
        check("/healthz", &["127.0.0.1:4646", "127.0.0.1:4646"], Err(400));
    }
}
