//! Answers of the server, taken apart as their bytes arrive.
//!
//! It knows what the daemon sends and no more of HTTP: a status line, headers in any case, a body of
//! a stated length.

/// Bytes of an answer at most; the longest that a benchmark asks for is far shorter.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    /// The status code.
    pub(crate) status: u16,
    /// Whether the server closes the connection after it.
    pub(crate) closes: bool,
    /// Whether it says when to try again.
    pub(crate) has_retry_hint: bool,
    /// The body.
    pub(crate) body: &'a [u8],
}

/// What arrived is no answer of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read an answer: it is not one of the daemon's")]
pub(crate) struct NotAnAnswer;

/// The answer in `bytes`, once it is whole.
///
/// # Errors
/// [`NotAnAnswer`] when more bytes would not make it one.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Answer<'_>>, NotAnAnswer> {
    let Some(head_bytes) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > ANSWER_BYTES_MAX { Err(NotAnAnswer) } else { Ok(None) };
    };
    let (head, rest) = bytes.split_at_checked(head_bytes).ok_or(NotAnAnswer)?;
    let head = std::str::from_utf8(head).map_err(|_| NotAnAnswer)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
    let status = status.and_then(|line| line.get(..3)).and_then(|text| text.parse().ok());
    let status = status.ok_or(NotAnAnswer)?;
    let mut answer = Answer { status, closes: false, has_retry_hint: false, body: &[] };
    let mut body_bytes = 0;
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(NotAnAnswer)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            body_bytes = value.parse().map_err(|_| NotAnAnswer)?;
        } else if name.eq_ignore_ascii_case("connection") {
            answer.closes = value.eq_ignore_ascii_case("close");
        } else if name.eq_ignore_ascii_case("retry-after-ms") {
            answer.has_retry_hint = value.parse::<u64>().is_ok();
        }
    }
    if body_bytes > ANSWER_BYTES_MAX {
        return Err(NotAnAnswer);
    }
    let body = rest.get(4..).and_then(|body| body.get(..body_bytes));
    Ok(body.map(|body| Answer { body, ..answer }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\
        retry-after-ms: 100\r\nconnection: close\r\n\r\n{}";

    #[test]
    fn an_answer_is_whole_at_its_last_byte_and_not_before() {
        for bytes in 0..ANSWER.len() {
            assert_eq!(parse(&ANSWER[..bytes]), Ok(None));
        }
        let whole = Answer { status: 503, closes: true, has_retry_hint: true, body: b"{}" };
        assert_eq!(parse(ANSWER), Ok(Some(whole)));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for text in ["SSH-2.0\r\n\r\n", "HTTP/1.1 x\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"]
        {
            assert_eq!(parse(text.as_bytes()), Err(NotAnAnswer), "{text}");
        }
    }
}
