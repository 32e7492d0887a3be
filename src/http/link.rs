//! Addresses of pages that a client sends a person to.

use crate::http::reply::ApiError;

/// Characters of an address.
const CHARS_MAX: usize = 2_000;

/// An absolute `http` or `https` address of a page: what is put into a link or a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link<'a> {
    scheme: &'a str,
    authority: &'a str,
    /// The path and the query.
    rest: &'a str,
    /// With its `#`, or empty.
    fragment: &'a str,
}

impl<'a> Link<'a> {
    /// The parts of an address; nothing when it is no address of a page. A name and password in it are
    /// refused, because people read them as the host.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !br#""<>\^`{|}'"#.contains(&byte);
        if text.len() > CHARS_MAX || !text.bytes().all(is_plain) {
            return None;
        }
        let (scheme, behind) = text.split_once("://")?;
        if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return None;
        }
        let (behind, fragment) = behind.split_at(behind.find('#').unwrap_or(behind.len()));
        let (authority, rest) = behind.split_at(behind.find(['/', '?']).unwrap_or(behind.len()));
        let is_of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let has_host = authority.bytes().next().is_some_and(|first| first != b':');
        (has_host && authority.bytes().all(is_of_host)).then_some(Self {
            scheme,
            authority,
            rest,
            fragment,
        })
    }

    /// What a policy calls the place where the page is.
    pub(crate) fn source(self) -> String {
        let scheme = self.scheme.to_ascii_lowercase();
        // A policy has no form for an address in brackets.
        if self.authority.contains('[') {
            format!("{scheme}:")
        } else {
            format!("{scheme}://{}", self.authority)
        }
    }

    /// The address with these parameters behind those that it has. Neither names nor values need an
    /// escape.
    pub(crate) fn with(self, parameters: &[(&str, &str)]) -> String {
        let Self { scheme, authority, rest, fragment } = self;
        let mut address = format!("{scheme}://{authority}{rest}");
        for (name, value) in parameters {
            address.push(match address.rfind('?') {
                None => '?',
                Some(_) => '&',
            });
            address.push_str(name);
            address.push('=');
            address.push_str(value);
        }
        address.push_str(fragment);
        address
    }
}

/// An address that people may be sent to.
///
/// # Errors
/// 422 that names `field`
pub(crate) fn link(field: &str, text: String) -> Result<String, ApiError> {
    if Link::read(&text).is_some() {
        return Ok(text);
    }
    let message = format!(
        "{field}: must be an address that begins with http:// or https:// and a host, of at most \
         {CHARS_MAX} characters"
    );
    Err(ApiError::invalid(field, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_the_web_are_links() {
        for text in [
            "https://shop.example",
            "http://127.0.0.1:3000/done?a=b#c",
            "HTTPS://shop.example:8443/%C3%A9?next=/x",
            "http://[::1]:80/",
        ] {
            assert_eq!(link("return_url", text.to_owned()).as_deref(), Ok(text));
        }
        let long = format!("https://shop.example/{}", "x".repeat(2_000));
        for text in [
            "",
            "shop.example",
            "/done",
            "//shop.example",
            "https://",
            "https:///done",
            "https://:80/",
            "javascript:alert(1)",
            "javascript://shop.example/%0aalert(1)",
            "data:text/html,x",
            "ftp://shop.example",
            "https://shop.example@evil.example/",
            "https://shop.example;script-src/",
            "https://shop.example/a b",
            "https://shop.example/\r\nset-cookie: a=b",
            "https://shop.example/\"onclick",
            "https://é.example",
            &long,
        ] {
            let error = link("return_url", text.to_owned()).unwrap_err();
            assert_eq!(error.status(), 422, "{text}");
            assert_eq!(error.body().field.as_deref(), Some("return_url"));
        }
    }

    #[test]
    fn parameters_go_behind_those_that_are_there() {
        let with = |text: &str| Link::read(text).unwrap().with(&[("a", "1"), ("b", "2")]);
        assert_eq!(with("https://x.example"), "https://x.example?a=1&b=2");
        assert_eq!(with("https://x.example/p#f?g"), "https://x.example/p?a=1&b=2#f?g");
        assert_eq!(with("https://x.example/p?q=r"), "https://x.example/p?q=r&a=1&b=2");
    }

    #[test]
    fn a_policy_names_scheme_and_host() {
        let source = |text: &str| Link::read(text).unwrap().source();
        assert_eq!(source("HTTPS://x.example:8443/p?q"), "https://x.example:8443");
        assert_eq!(source("http://[::1]/p"), "http:");
    }
}
