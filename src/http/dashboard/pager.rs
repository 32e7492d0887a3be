//! To the next page of a list, and back to its beginning.

use askama::Template;
use askama::filters::HtmlSafe;

/// Links below a list. A page prints it with `{{ pager }}`.
#[derive(Debug, Default, Template)]
#[template(path = "dashboard/pager.html", config = ".config/askama.toml")]
pub(super) struct Pager {
    /// Where the list begins, when this page does not.
    pub(super) first: Option<String>,
    /// Where it goes on.
    pub(super) next: Option<String>,
}

impl HtmlSafe for Pager {}
