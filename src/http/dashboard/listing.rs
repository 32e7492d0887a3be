//! Lists that go by pages: which page is asked for, what of a list is on it, and where the others are.

use super::pager::Pager;
use super::table::EXPORT_ROWS_MAX;
use super::{answer, tags};
use crate::engine::Page;
use crate::http::query::Parameters;
use crate::http::reply::ApiError;

/// Rows of a page.
const ROWS: usize = 25;

/// What a request asks of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listing {
    /// The page, from 0.
    number: usize,
    /// Whether it is asked for as a file, which has more rows.
    pub(super) is_csv: bool,
}

/// An address with parameters; those without a value are left out.
#[derive(Clone, Debug)]
pub(super) struct Address(String);

impl Address {
    pub(super) fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.0.push(if self.0.contains('?') { '&' } else { '?' });
            self.0.push_str(name);
            self.0.push('=');
            self.0.push_str(&tags::encoded(value));
        }
        self
    }

    pub(super) fn csv(self) -> String {
        self.with("format", "csv").0
    }

    pub(super) fn text(self) -> String {
        self.0
    }
}

impl Listing {
    /// The page that `page` names, or the beginning.
    ///
    /// # Errors
    /// 422 when it is no number.
    pub(super) fn read(parameters: &Parameters) -> Result<Self, ApiError> {
        let number = parameters.whole("page")?.unwrap_or(0);
        Ok(Self { number, is_csv: answer::wants_csv(parameters)? })
    }

    /// What is read: one more than is shown, which says whether the list goes on.
    pub(super) fn page(self) -> Page {
        if self.is_csv {
            return Page { offset: 0, limit: EXPORT_ROWS_MAX };
        }
        Page { offset: self.number.saturating_mul(ROWS), limit: ROWS + 1 }
    }

    /// Cuts what was read to what is shown: links to the other pages of the list at `address`.
    pub(super) fn cut<T>(self, found: &mut Vec<T>, address: &Address) -> Pager {
        let goes_on = !self.is_csv && found.len() > ROWS;
        if goes_on {
            found.truncate(ROWS);
        }
        let next = self.number.saturating_add(1).to_string();
        Pager {
            first: (!self.is_csv && self.number > 0).then(|| address.clone().text()),
            next: goes_on.then(|| address.clone().with("page", &next).text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::query::parameters;

    #[test]
    fn pages_lead_to_each_other_and_end() {
        let address = Address::new("/dashboard/x").with("a", "b&c").with("none", "");
        let shown = |query: &str, found: usize| {
            let listing = Listing::read(&parameters(query)).unwrap();
            let mut rows = vec![0; found.min(listing.page().limit)];
            let Pager { first, next } = listing.cut(&mut rows, &address);
            (listing.page().offset, rows.len(), first, next)
        };
        let own = "/dashboard/x?a=b%26c".to_owned();
        assert_eq!(shown("", 25), (0, 25, None, None));
        assert_eq!(shown("", 26), (0, 25, None, Some(format!("{own}&page=1"))));
        assert_eq!(shown("page=2", 99), (50, 25, Some(own.clone()), Some(format!("{own}&page=3"))));
        assert_eq!(shown("page=1", 3), (25, 3, Some(own), None));
        assert_eq!(shown("page=3&format=csv", 40), (0, 40, None, None));
        assert_eq!(Listing::read(&parameters("page=x")).unwrap_err().status(), 422);
    }
}
