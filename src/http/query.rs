//! Query strings: an empty value stands for none, names that nobody asks for are ignored.

use axum::extract::{FromRequestParts, Query};
use hyper::Uri;
use hyper::http::request::Parts;

use crate::http::reply::ApiError;
use crate::model::Timestamp;

/// The parameters of one request.
#[derive(Clone, Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// The parameters in the query string of `uri`.
    ///
    /// # Errors
    /// 422 when it is malformed.
    pub fn of(uri: &Uri) -> Result<Self, ApiError> {
        match Query::try_from_uri(uri) {
            Ok(Query(pairs)) => Ok(Self(pairs)),
            Err(_) => Err(ApiError::query("query", "the query string is malformed")),
        }
    }

    /// The fields of a form.
    ///
    /// # Errors
    /// 422 when it is malformed.
    pub(crate) fn of_form(text: &[u8]) -> Result<Self, ApiError> {
        let malformed = || ApiError::parameters("the form is malformed");
        let text = std::str::from_utf8(text).map_err(|_| malformed())?;
        let uri: Uri = format!("/?{text}").parse().map_err(|_| malformed())?;
        Self::of(&uri).map_err(|_| malformed())
    }

    /// The text of a parameter.
    ///
    /// # Errors
    /// 422 when it is given twice.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut given = self.0.iter().filter(|(given, value)| given == name && !value.is_empty());
        let first = given.next();
        if given.next().is_some() {
            return Err(ApiError::query(name, format!("{name} is given twice")));
        }
        Ok(first.map(|(_, value)| value.as_str()))
    }

    /// A parameter that is `true` or `false`.
    ///
    /// # Errors
    /// 422 when it is anything else.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.parsed(name, "true or false", |text| text.parse().ok())
    }

    /// A parameter that is a whole number of 0 or more.
    ///
    /// # Errors
    /// 422 when it is anything else.
    pub fn whole(&self, name: &str) -> Result<Option<usize>, ApiError> {
        self.parsed(name, "a whole number of 0 or more", |text| {
            // The parser alone would let a plus sign pass.
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
        })
    }

    /// A parameter that is an RFC 3339 date-time.
    ///
    /// # Errors
    /// 422 when it is anything else.
    pub fn timestamp(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let wish = "an RFC 3339 date-time such as 2026-01-31T00:00:00Z, a plus sign in it as %2B";
        self.parsed(name, wish, |text| Timestamp::parse(text).ok())
    }

    /// A parameter that `parse` reads; `wish` says what it should be.
    ///
    /// # Errors
    /// 422 when `parse` finds nothing in it.
    pub(crate) fn parsed<T>(
        &self,
        name: &str,
        wish: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let refusal = || ApiError::query(name, format!("{name} must be {wish}"));
        parse(text).map(Some).ok_or_else(refusal)
    }
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Self::of(&parts.uri)
    }
}

#[cfg(test)]
pub(crate) fn parameters(query: &str) -> Parameters {
    Parameters::of(&format!("/?{query}").parse().unwrap()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_is_none() {
        let parameters = parameters("a=&b=x%20y&c");
        assert_eq!(parameters.text("a").unwrap(), None);
        assert_eq!(parameters.text("b").unwrap(), Some("x y"));
        assert_eq!(parameters.text("c").unwrap(), None);
        assert_eq!(parameters.text("d").unwrap(), None);
    }

    #[test]
    fn values_of_another_type_are_refused_by_name() {
        let given = parameters("n=-1&p=%2B1&t=yesterday&b=yes&d=1&d=2");
        let refused = [
            ("n", given.whole("n").unwrap_err()),
            ("p", given.whole("p").unwrap_err()),
            ("t", given.timestamp("t").unwrap_err()),
            ("b", given.boolean("b").unwrap_err()),
            ("d", given.text("d").unwrap_err()),
        ];
        for (name, error) in refused {
            assert_eq!(error.status(), 422);
            assert_eq!(error.body().code, "INVALID_QUERY_PARAMS");
            assert_eq!(error.body().field.as_deref(), Some(name));
        }
    }

    #[test]
    fn timestamps_may_have_any_offset() {
        let given = parameters("t=2026-01-01T02:00:00%2B02:00&u=2026-01-01T00:00:00");
        assert_eq!(given.timestamp("t").unwrap(), given.timestamp("u").unwrap());
    }
}
