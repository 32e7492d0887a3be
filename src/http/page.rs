//! Paging: `page_size` and a zero-based `page_number`.
//!
//! The Stainless SDKs leave `page_number` out of their first request and ask for page 2 next, so
//! that page 1 would never be read. A first request from such a client is answered with pages 0 and
//! 1 together.

use axum::extract::FromRequestParts;
use hyper::http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use crate::engine::Page;
use crate::http::query::Parameters;
use crate::http::reply::ApiError;

/// Items of a page when the client does not say.
const SIZE_DEFAULT: usize = 10;
/// Items of a page at most.
const SIZE_MAX: usize = 100;

/// The page that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// Items to skip.
    pub offset: usize,
    /// Items to answer at most.
    pub limit: usize,
}

/// A page of a list. An empty one ends the list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Items<T> {
    /// The items.
    pub(crate) items: Vec<T>,
}

impl Paging {
    /// The page that `parameters` name; a client that would never read page 1 gets it with page 0.
    ///
    /// # Errors
    /// 422 when a page has no item or more than 100, or a number is not whole.
    pub fn read(parameters: &Parameters, client_skips_page_1: bool) -> Result<Self, ApiError> {
        let size = parameters.whole("page_size")?.unwrap_or(SIZE_DEFAULT);
        if !(1..=SIZE_MAX).contains(&size) {
            let message = format!("page_size must be from 1 to {SIZE_MAX}");
            return Err(ApiError::query("page_size", message));
        }
        let number = parameters.whole("page_number")?;
        if number.is_none() && client_skips_page_1 {
            return Ok(Self { offset: 0, limit: 2 * size });
        }
        // A page beyond every list is as empty as one beyond this list.
        Ok(Self { offset: number.unwrap_or(0).saturating_mul(size), limit: size })
    }

    /// This page of a list that is at hand.
    pub(crate) fn of<T>(self, list: impl IntoIterator<Item = T>) -> Vec<T> {
        list.into_iter().skip(self.offset).take(self.limit).collect()
    }
}

impl From<Paging> for Page {
    fn from(paging: Paging) -> Self {
        Self { offset: paging.offset, limit: paging.limit }
    }
}

impl<S: Sync> FromRequestParts<S> for Paging {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let parameters = Parameters::from_request_parts(parts, state).await?;
        Self::read(&parameters, parts.headers.contains_key("x-stainless-lang"))
    }
}

#[cfg(test)]
mod tests {
    use crate::http::query;

    use super::*;

    fn check(query: &str, stainless: bool, expected: Option<(usize, usize)>) {
        let found = Paging::read(&query::parameters(query), stainless).ok();
        let expected = expected.map(|(offset, limit)| Paging { offset, limit });
        assert_eq!(found, expected, "{query}");
    }

    #[test]
    fn pages_are_counted_from_zero() {
        check("", false, Some((0, 10)));
        check("page_number=0", false, Some((0, 10)));
        check("page_number=3&page_size=100", false, Some((300, 100)));
        check("page_number=&page_size=", false, Some((0, 10)));
        check("page_number=18446744073709551615&page_size=2", false, Some((usize::MAX, 2)));
    }

    #[test]
    fn a_client_that_skips_page_1_gets_it_with_page_0() {
        check("", true, Some((0, 20)));
        check("page_size=7", true, Some((0, 14)));
        check("page_number=0", true, Some((0, 10)));
        check("page_number=2", true, Some((20, 10)));
    }

    #[test]
    fn sizes_outside_1_to_100_and_odd_numbers_are_refused() {
        for query in ["page_size=0", "page_size=101", "page_number=-1", "page_number=x"] {
            check(query, false, None);
        }
    }

    proptest::proptest! {
        #[test]
        fn the_walk_of_a_stainless_client_sees_every_item_once(count in 0_usize..200, size in 1_usize..30) {
            let list: Vec<_> = (0..count).collect();
            let mut seen = Vec::new();
            let mut query = format!("page_size={size}");
            let mut number = 1;
            loop {
                let page = Paging::read(&query::parameters(&query), true).unwrap().of(list.clone());
                if page.is_empty() {
                    break;
                }
                seen.extend(page);
                number += 1;
                query = format!("page_size={size}&page_number={number}");
            }
            proptest::prop_assert_eq!(seen, list);
        }
    }
}
