//! Bodies of requests: read within a limit and a deadline, then read as JSON.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::http::reply::{self, ApiError};

/// Bytes of a body on every route but ingest: the largest object, a meter with a filter of the
/// allowed number of clauses, needs half of it.
pub(crate) const BYTES_MAX: usize = 256 * 1024;

/// Reads a whole body of at most `bytes_max` bytes.
///
/// # Errors
/// 413 when it is larger, 408 when it is not there within `deadline`, 400 when it breaks off.
pub(crate) async fn read<B>(
    body: B,
    bytes_max: usize,
    deadline: Duration,
) -> Result<Bytes, ApiError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    tokio::time::timeout(deadline, collect(body, bytes_max)).await.unwrap_or_else(|_elapsed| {
        let message = "the body did not arrive in time";
        Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message))
    })
}

async fn collect<B>(mut body: B, bytes_max: usize) -> Result<Bytes, ApiError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > bytes_max {
        return Err(ApiError::too_large(bytes_max));
    }
    // A small body comes in one piece and is not copied.
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_broken| ApiError::malformed("the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len().max(whole.len()).saturating_add(data.len()) > bytes_max {
            return Err(ApiError::too_large(bytes_max));
        }
        if first.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(announced.max(first.len() + data.len()));
            whole.extend_from_slice(&first);
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// Refuses a body that does not say it is JSON. An empty one may say anything: some clients state a
/// type and send nothing.
///
/// # Errors
/// 415
pub(crate) fn require_json(headers: &HeaderMap, body_is_empty: bool) -> Result<(), ApiError> {
    require(headers, body_is_empty, "application/json")
}

/// Refuses a body that does not say it is a form; an empty one may say anything.
///
/// # Errors
/// 415
pub(crate) fn require_form(headers: &HeaderMap, body_is_empty: bool) -> Result<(), ApiError> {
    require(headers, body_is_empty, "application/x-www-form-urlencoded")
}

fn require(headers: &HeaderMap, body_is_empty: bool, wanted: &str) -> Result<(), ApiError> {
    let stated = reply::single(headers, CONTENT_TYPE).ok().flatten().unwrap_or_default();
    let media_type = stated.split(';').next().unwrap_or_default().trim();
    if body_is_empty || media_type.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let message = format!("a body needs the header content-type: {wanted}");
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message))
}

/// The JSON object in `text`.
///
/// # Errors
/// 400 when it is not JSON, 422 when it is another value or a member has another type.
pub(crate) fn object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string().replace('[', ".").replace(']', "");
        let refused = refusal(error.inner());
        // A dot stands for the body itself.
        if path == "." { refused } else { refused.in_field(path) }
    })?;
    reader.end().map_err(|error| refusal(&error))?;
    // Arrays fill the members of a derived type in their order; nobody means that.
    if text.trim_ascii_start().first() == Some(&b'{') {
        return Ok(read);
    }
    Err(ApiError::parameters("a JSON object is expected"))
}

/// Refuses members that ask for something that is not sold here; `null`, `false` and what is empty ask
/// for nothing.
///
/// # Errors
/// 422 that names the member
pub(crate) fn refuse_not_offered(members: &[(&str, Option<&RawValue>)]) -> Result<(), ApiError> {
    let asks = |raw: &RawValue| !matches!(raw.get(), "null" | "false" | "[]" | "{}" | "\"\"");
    match members.iter().find(|(_, raw)| raw.is_some_and(asks)) {
        Some((name, _)) => Err(ApiError::invalid(name, format!("{name}: this is not offered"))),
        None => Ok(()),
    }
}

/// What is wrong, without the place: for texts that are a part of a body.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(reason, _)| reason.to_owned())
}

fn refusal(error: &serde_json::Error) -> ApiError {
    match error.classify() {
        Category::Data => ApiError::parameters(error.to_string()),
        Category::Syntax | Category::Eof | Category::Io => ApiError::malformed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;
    use hyper::header::HeaderValue;

    use super::*;

    /// A body in given pieces that may never end.
    struct Pieces {
        pieces: VecDeque<&'static [u8]>,
        ends: bool,
    }

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _ctx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.pieces.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece))))),
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    fn check(pieces: &[&'static [u8]], ends: bool, expected: Result<&str, u16>) {
        let body = Pieces { pieces: pieces.iter().copied().collect(), ends };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        // A deadline that has passed is looked at after the body, so that it hurts only an open one.
        let found = runtime.block_on(async { read(body, 8, Duration::ZERO).await });
        let found = found.map_err(|error| error.status().as_u16());
        assert_eq!(found, expected.map(|text| Bytes::from(text.to_owned())));
    }

    #[test]
    fn a_body_is_whole_within_its_limit_and_deadline() {
        check(&[], true, Ok(""));
        check(&[b"12345678"], true, Ok("12345678"));
        check(&[b"123", b"", b"45", b"678"], true, Ok("12345678"));
        check(&[b"123456789"], true, Err(413));
        check(&[b"1234", b"5678", b"9"], false, Err(413));
        check(&[b"1234"], false, Err(408));
    }

    #[test]
    fn an_announced_body_is_refused_before_it_is_read() {
        let body = http_body_util::Full::new(Bytes::from_static(b"123456789"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let found = runtime.block_on(async { read(body, 8, Duration::MAX).await });
        assert_eq!(found.unwrap_err().status(), 413);
    }

    #[test]
    fn a_body_says_that_it_is_json() {
        let check = |stated: Option<&'static str>, body_is_empty: bool, expected: bool| {
            let stated = stated.map(|text| (CONTENT_TYPE, HeaderValue::from_static(text)));
            let headers = stated.into_iter().collect();
            assert_eq!(require_json(&headers, body_is_empty).is_ok(), expected);
        };
        check(Some("application/json"), false, true);
        check(Some("Application/JSON; charset=utf-8"), false, true);
        check(Some("application/json"), true, true);
        check(None, true, true);
        check(None, false, false);
        check(Some("text/plain"), false, false);
        check(Some("application/x-www-form-urlencoded"), false, false);
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_crash() {
        #[derive(Debug, Deserialize)]
        struct Named {
            #[expect(dead_code, reason = "only whether it can be read matters")]
            name: Option<String>,
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(object::<Named>(deep.as_bytes()).is_err());
        assert!(object::<Named>(format!(r#"{{"name":{deep}}}"#).as_bytes()).is_err());
        assert!(object::<Named>(format!(r#"{{"other":{deep},"name":"a"}}"#).as_bytes()).is_ok());
    }

    #[test]
    fn malformed_text_tells_where() {
        let error = object::<serde_json::Value>(b"{\"a\": }").unwrap_err();
        assert_eq!(error.status(), 400);
        assert_eq!(error.body().message, "expected value at line 1 column 7");
    }
}
