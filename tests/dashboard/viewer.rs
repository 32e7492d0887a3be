//! A browser as far as these tests need one: it keeps the cookie, reads the token, and says what browsers
//! say of themselves.

use serde_json::{Value, json};

use crate::common::client::{Answer, Client};
use crate::common::daemon::{Daemon, KEY, Launch};

/// A daemon on a directory of its own.
pub(crate) fn daemon() -> (tempfile::TempDir, Daemon) {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Launch::new(directory.path()).start();
    (directory, daemon)
}

/// The text and the id of a new key.
pub(crate) fn make_key(daemon: &Daemon, scope: &str) -> (String, String) {
    let made = daemon.client().post("/keys", &json!({ "name": scope, "scope": scope })).json();
    (made["key"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
}

/// A text that would do harm if a page or a table took it for anything else.
pub(crate) const HOSTILE: &str =
    "=cmd|'/c'!A0\"><img src=x onerror=alert(1)></textarea><script>{{7*7}}";

/// A text of a JSON answer.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Somebody with a browser.
#[derive(Debug)]
pub(crate) struct Viewer {
    client: Client,
    /// Empty when nobody is signed in.
    pub(crate) cookie: String,
}

/// What a browser says of a request of our own page.
pub(crate) const OWN_PAGE: (&str, &str) = ("sec-fetch-site", "same-origin");

impl Viewer {
    pub(crate) fn new(daemon: &Daemon) -> Self {
        Self { client: Client::new(daemon.address, None), cookie: String::new() }
    }

    /// Signed in with the admin key.
    pub(crate) fn admin(daemon: &Daemon) -> Self {
        Self::with_key(daemon, KEY)
    }

    /// Signed in with this key.
    pub(crate) fn with_key(daemon: &Daemon, key: &str) -> Self {
        let mut viewer = Self::new(daemon);
        let answer = viewer.sign_in(key);
        assert_eq!(answer.status, 303, "{answer:?}");
        viewer
    }

    /// Sends the sign-in form, and keeps the cookie that comes back.
    pub(crate) fn sign_in(&mut self, key: &str) -> Answer {
        let answer = self.form(&[OWN_PAGE], &format!("key={key}"));
        if let Some(cookie) = answer.header("set-cookie") {
            self.cookie = cookie.split(';').next().unwrap().to_owned();
        }
        answer
    }

    /// Sends the sign-in form as it is given.
    pub(crate) fn form(&mut self, headers: &[(&str, &str)], form: &str) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/x-www-form-urlencoded"));
        self.post_form("/dashboard/sign-in", &headers, form)
    }

    /// Sends a form with these headers and the cookie.
    pub(crate) fn post_form(&mut self, path: &str, headers: &[(&str, &str)], form: &str) -> Answer {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\ncontent-length: {}\r\n",
            self.client.address(),
            self.cookie,
            form.len()
        );
        for (name, value) in headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        request.extend(["\r\n", form]);
        self.client.exchange(request.as_bytes()).unwrap()
    }

    /// Sends anything, with the cookie.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let cookie = self.cookie.clone();
        let mut headers = headers.to_vec();
        if !cookie.is_empty() {
            headers.push(("cookie", &cookie));
        }
        self.client.send(method, path, &headers, body.as_bytes()).unwrap()
    }

    /// A page.
    pub(crate) fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    /// A page that is there.
    pub(crate) fn page(&mut self, path: &str) -> String {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.text()
    }

    /// A page on which no text of [`HOSTILE`]'s kind has become a tag.
    pub(crate) fn assert_harmless(&mut self, path: &str) {
        let page = self.page(path);
        assert!(page.contains("img src=x") || page.contains("&#62;"), "{path}: nothing hostile");
        for tag in ["<img", "<x", "<b>", "<script>", "</textarea><script"] {
            assert!(!page.contains(tag), "{path}: {tag} in {page}");
        }
    }

    /// The token in the pages of this session.
    pub(crate) fn token(&mut self) -> String {
        let page = self.page("/dashboard/settings");
        let behind = page.split_once("name=\"quipu-token\" content=\"").unwrap().1;
        behind.split('"').next().unwrap().to_owned()
    }

    /// What a form of our own page sends to the API.
    pub(crate) fn change(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let token = self.token();
        let headers = [OWN_PAGE, ("x-quipu-token", &token)];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, &format!("/dashboard/api{path}"), &headers, &body)
    }
}
