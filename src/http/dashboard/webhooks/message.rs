//! One message: what it says, and what became of it at one endpoint.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::{Head, Tab, catalogue};
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer, NotShown};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::Shell;
use crate::http::dashboard::tags::{self, Moment};
use crate::http::reply::ApiError;
use crate::http::route::Segments;
use crate::http::webhooks::message_body;
use crate::model::MessageId;

#[derive(Template)]
#[template(path = "dashboard/webhook_message.html", config = ".config/askama.toml")]
struct MessagePage {
    shell: Shell,
    head: Head,
    id: String,
    event_type: &'static str,
    when: &'static str,
    at: Moment,
    /// The body, indented.
    body: String,
    /// Where it is sent again.
    resend: String,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segments(id, message): Segments,
) -> Answer {
    let (mut shell, head) = Head::read(&dashboard, &viewer, id, Tab::Message)?;
    let unknown = || NotShown::not_found("webhook message");
    let message = MessageId::parse(&message).ok_or_else(unknown)?;
    let notice = dashboard.edge.read(move |engine| engine.notice(message)).await??;
    let notice = notice.filter(|notice| notice.to.contains(&head.endpoint.index));
    let notice = notice.ok_or_else(unknown)?;
    let edge = Arc::clone(&dashboard.edge);
    let told = notice.clone();
    let body = dashboard.edge.read(move |_| message_body(&told, &edge)).await?;
    let body = body.ok_or_else(unknown)?;
    let body = String::from_utf8(body).map_err(|_| ApiError::internal())?;
    notice.event_type.name().clone_into(&mut shell.title);
    answer::show(&MessagePage {
        shell,
        id: message.to_string(),
        event_type: notice.event_type.name(),
        when: catalogue::when(notice.event_type).unwrap_or_default(),
        at: Moment(notice.at),
        body: indented(&body),
        resend: format!(
            "/webhooks/{}/messages/{message}/resend",
            tags::encoded(head.endpoint.id.as_str())
        ),
        head,
    })
}

/// JSON without spaces, a member a line; in the order in which it is sent.
fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    let break_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    let mut chars = json.chars().peekable();
    while let Some(char) = chars.next() {
        if is_text {
            is_text = char != '"' || is_escaped;
            is_escaped = char == '\\' && !is_escaped;
            out.push(char);
            continue;
        }
        match char {
            '{' | '[' if chars.peek().is_some_and(|next| matches!(next, '}' | ']')) => {
                out.push(char);
                out.extend(chars.next());
            }
            '{' | '[' => {
                depth += 1;
                out.push(char);
                break_line(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut out, depth);
                out.push(char);
            }
            ',' => {
                out.push(char);
                break_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                is_text = char == '"';
                out.push(char);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_body_is_indented_and_says_the_same() {
        let value = json!({ "a": [1, { "b{\"": "\\" }, [], {}], "c": null, "d:,": "x, \"y\": [" });
        let indented = indented(&value.to_string());
        assert_eq!(serde_json::from_str::<Value>(&indented).unwrap(), value);
        assert_eq!(indented, serde_json::to_string_pretty(&value).unwrap());
    }
}
