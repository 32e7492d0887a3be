//! The page, printable as it is: no script, nothing loaded from anywhere.

use askama::Template;

use super::Document;

/// The template; every value is escaped.
#[derive(Template)]
#[template(path = "invoice.html", config = ".config/askama.toml")]
struct Page<'d> {
    document: &'d Document,
}

/// The page of an invoice.
///
/// # Errors
/// [`askama::Error`], when the template itself is at fault.
pub(crate) fn html(document: &Document) -> Result<String, askama::Error> {
    Page { document }.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::document::tests::sample;

    #[test]
    fn a_page_shows_every_text() {
        let page = html(&Document::new(&sample("Ada", 0))).unwrap();
        for text in [
            "<title>Invoice 12</title>",
            "12 (inv_1)",
            "2026-11-22 11:10 UTC",
            "08000 Cusco",
            "Tokens (tokens)",
            "used 2500, free 1000",
            "49.00",
            "79.00 USD",
        ] {
            assert!(page.contains(text), "{text} in {page}");
        }
    }

    #[test]
    fn what_clients_wrote_is_text_and_nothing_else() {
        let page = html(&Document::new(&sample("<script>alert('x')</script>&\"", 0))).unwrap();
        assert!(!page.contains("<script"));
        assert!(page.contains("&#60;script&#62;alert(&#39;x&#39;)"), "{page}");
    }
}
