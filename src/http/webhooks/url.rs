//! Where an endpoint may be: what can be said of its URL before anything is resolved.

use std::net::IpAddr;

use hyper::Uri;

use super::address;
use crate::http::reply::ApiError;

/// Characters of a URL.
const CHARS_MAX: usize = 2_048;

/// Checks the URL of an endpoint.
///
/// # Errors
/// 422 that names `url`
pub(super) fn checked(text: String, allow_loopback: bool) -> Result<String, ApiError> {
    let refused = |message: &str| Err(ApiError::invalid("url", format!("url: {message}")));
    if text.len() > CHARS_MAX {
        return refused(&format!("it has more than {CHARS_MAX} characters"));
    }
    let Ok(uri) = text.parse::<Uri>() else {
        return refused("it must be a URL such as https://example.com/webhooks");
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return refused("it must be a URL such as https://example.com/webhooks");
    };
    if authority.as_str().contains('@') {
        return refused("it must not hold a user or a password; set a header instead");
    }
    if text.contains('#') {
        return refused("it must not have a fragment: nothing behind # is ever sent");
    }
    let host = authority.host();
    let has_port = authority.as_str() != host;
    let port = authority.port_u16().filter(|port| *port > 0);
    if host.is_empty() || (has_port && port.is_none()) {
        return refused("it must name a host, and a port from 1 to 65535 when it names one");
    }
    if scheme != "https" && !(scheme == "http" && allow_loopback && is_loopback(host)) {
        return refused(
            "it must begin with https://; http:// is only for this machine, and needs \
             webhooks.allow_loopback",
        );
    }
    if let Some(reason) =
        literal(host).and_then(|address| address::refusal(address, allow_loopback))
    {
        return refused(&format!("{host} is {reason}: messages go to public addresses alone"));
    }
    if is_localhost(host) && !allow_loopback {
        return refused("this machine is only reached with webhooks.allow_loopback");
    }
    Ok(text)
}

/// The address that a host is written as; nothing of a name.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Whether a host is this machine by its text alone.
fn is_loopback(host: &str) -> bool {
    let is_refused = |address| {
        address::refusal(address, false).is_some() && address::refusal(address, true).is_none()
    };
    literal(host).map_or_else(|| is_localhost(host), is_refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, allow_loopback: bool, expected: bool) {
        let found = checked(url.to_owned(), allow_loopback);
        assert_eq!(found.is_ok(), expected, "{url} {allow_loopback}: {found:?}");
        if let Err(error) = found {
            assert_eq!(error.body().field.as_deref(), Some("url"));
        }
    }

    #[test]
    fn public_hosts_are_reached_by_https() {
        for allow_loopback in [false, true] {
            for url in [
                "https://example.com",
                "https://example.com/hooks?a=b",
                "https://example.com:8443/",
                "https://8.8.8.8/x",
                "https://[2606:4700:4700::1111]/x",
                "HTTPS://EXAMPLE.com/",
            ] {
                check(url, allow_loopback, true);
            }
            let long = format!("https://example.com/{}", "a".repeat(2_048));
            for url in [
                "",
                "example.com",
                "/hooks",
                "ftp://example.com/",
                "http://example.com/",
                "http://8.8.8.8/",
                "https://",
                "https:///x",
                "https://user:word@example.com/",
                "https://user@example.com/",
                "https://example.com/#part",
                "https://example.com:0/",
                "https://example.com:99999/",
                "https://10.0.0.1/",
                "https://169.254.169.254/latest",
                "https://[fe80::1]/",
                "https://[::ffff:10.0.0.1]/",
                "http://10.0.0.1/",
                "https://exa mple.com/",
                "javascript:alert(1)",
                "file:///etc/passwd",
                &long,
            ] {
                check(url, allow_loopback, false);
            }
        }
    }

    #[test]
    fn this_machine_is_reached_where_that_is_allowed() {
        for url in [
            "http://127.0.0.1:4000/hooks",
            "http://localhost:4000/",
            "http://[::1]:4000/",
            "https://127.0.0.1/",
            "https://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost/",
        ] {
            check(url, true, true);
            check(url, false, false);
        }
        // A resolver may read these as the machine's address: they are names here, and are resolved.
        check("http://2130706433/", true, false);
        check("http://0x7f.1/", true, false);
    }
}
