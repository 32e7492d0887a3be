//! Endpoints as they are asked for, checked.

use serde::Deserialize;
use utoipa::ToSchema;

use super::url;
use crate::engine::command::webhooks::{EndpointPatch, NewEndpoint};
use crate::http::reply::ApiError;
use crate::http::scalar::Members;
use crate::http::text::{self, Clearable, Nullable};
use crate::model::EventType;
use crate::model::customer::MetadataValue;

/// Characters of a header's name.
const HEADER_NAME_CHARS_MAX: usize = 100;
/// Characters of a header's value.
const HEADER_VALUE_CHARS_MAX: usize = 1_000;
/// Messages a second at most that can be asked for.
const RATE_LIMIT_MAX: i64 = 10_000;

/// Headers that say how a request is read, and by whom: the daemon's own.
const OWN_HEADERS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// The same, by how they begin.
const OWN_HEADER_PREFIXES: &[&str] = &["proxy-", "webhook-"];

/// A new endpoint.
#[derive(Deserialize, ToSchema)]
#[schema(as = WebhookCreate)]
pub(super) struct EndpointCreate<'a> {
    /// `https://`; with `webhooks.allow_loopback` also `http://` on this machine.
    #[schema(value_type = String)]
    url: Option<String>,
    description: Option<String>,
    disabled: Option<bool>,
    /// Names of event types; all of them when it is left out or empty.
    filter_types: Option<Vec<String>>,
    /// Sent with each request: at most 20.
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    headers: Option<Members<'a>>,
    /// As the header `Idempotency-Key`.
    pub(super) idempotency_key: Option<String>,
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: Option<Members<'a>>,
    /// Messages a second at most, 1 to 10,000.
    rate_limit: Option<i64>,
}

/// What is left out stays.
#[derive(Deserialize, ToSchema)]
#[schema(as = WebhookUpdate)]
pub(super) struct EndpointUpdate<'a> {
    url: Option<String>,
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<String>)]
    description: Nullable,
    disabled: Option<bool>,
    /// `null` or an empty list for all types.
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<Vec<String>>)]
    filter_types: Clearable<Vec<String>>,
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    metadata: Option<Members<'a>>,
    /// `null` for any number.
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<i64>)]
    rate_limit: Clearable<i64>,
}

/// Headers that are set, or taken out where the value is `null`; others stay.
#[derive(Deserialize, ToSchema)]
#[schema(as = WebhookHeadersUpdate)]
pub(super) struct HeadersUpdate<'a> {
    #[serde(borrow)]
    #[schema(value_type = BTreeMap<String, Option<String>>)]
    headers: Option<Members<'a>>,
}

impl EndpointCreate<'_> {
    pub(super) fn into_new(self, allow_loopback: bool) -> Result<NewEndpoint, ApiError> {
        let url = self.url.ok_or_else(|| ApiError::missing("url"))?;
        let description = self.description.map(|text| text::paragraph("description", text));
        let headers = headers(self.headers)?;
        if headers.iter().any(|(_, value)| value.is_none()) {
            return Err(ApiError::invalid("headers", "headers: a value must be a text"));
        }
        Ok(NewEndpoint {
            url: url::checked(url, allow_loopback)?,
            description: description.transpose()?.unwrap_or_default(),
            disabled: self.disabled.unwrap_or(false),
            filter: filter(self.filter_types)?,
            headers: headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
            metadata: metadata(self.metadata)?,
            rate_limit: self.rate_limit.map(rate_limit).transpose()?,
        })
    }
}

impl EndpointUpdate<'_> {
    pub(super) fn into_patch(self, allow_loopback: bool) -> Result<EndpointPatch, ApiError> {
        let described = |text: Option<String>| {
            text.map_or(Ok(String::new()), |text| text::paragraph("description", text))
        };
        Ok(EndpointPatch {
            url: self.url.map(|url| url::checked(url, allow_loopback)).transpose()?,
            description: self.description.map(described).transpose()?,
            disabled: self.disabled,
            filter: self.filter_types.map(filter).transpose()?,
            metadata: self.metadata.map(|members| metadata(Some(members))).transpose()?,
            rate_limit: self.rate_limit.map(|rate| rate.map(rate_limit).transpose()).transpose()?,
        })
    }
}

impl HeadersUpdate<'_> {
    pub(super) fn into_changes(self) -> Result<Vec<(String, Option<String>)>, ApiError> {
        let given = self.headers.ok_or_else(|| ApiError::missing("headers"))?;
        headers(Some(given))
    }
}

/// The types of a filter, each once; nothing for all.
fn filter(names: Option<Vec<String>>) -> Result<Option<Vec<EventType>>, ApiError> {
    let mut types = Vec::new();
    for (place, name) in names.into_iter().flatten().enumerate() {
        let Some(event_type) = EventType::parse(&name) else {
            let field = format!("filter_types.{place}");
            return Err(ApiError::invalid(&field, format!("{field}: there is no such event type")));
        };
        if !types.contains(&event_type) {
            types.push(event_type);
        }
    }
    Ok((!types.is_empty()).then_some(types))
}

fn rate_limit(rate: i64) -> Result<u32, ApiError> {
    let in_range = Some(rate).filter(|rate| (1..=RATE_LIMIT_MAX).contains(rate));
    in_range.and_then(|rate| u32::try_from(rate).ok()).ok_or_else(|| {
        let message = format!("rate_limit must be from 1 to {RATE_LIMIT_MAX}");
        ApiError::invalid("rate_limit", message)
    })
}

/// Free details, texts alone.
fn metadata(members: Option<Members<'_>>) -> Result<Vec<(String, String)>, ApiError> {
    let metadata = members.map(Members::into_metadata).transpose()?.unwrap_or_default();
    let texts = metadata.into_iter().map(|(key, value)| match value {
        MetadataValue::String(text) => Ok((key, text)),
        MetadataValue::Number(_) | MetadataValue::Boolean(_) => {
            let field = format!("metadata.{key}");
            Err(ApiError::invalid(&field, format!("{field} must be a string")))
        }
    });
    texts.collect()
}

/// Headers with their names in lower case, each once; the value of one to be taken out is missing.
fn headers(members: Option<Members<'_>>) -> Result<Vec<(String, Option<String>)>, ApiError> {
    let mut headers: Vec<(String, Option<String>)> = Vec::new();
    for (name, raw) in members.into_iter().flat_map(Members::into_pairs) {
        let field = format!("headers.{name}");
        let refused = |message: &str| Err(ApiError::invalid(&field, format!("{field} {message}")));
        let name = name.to_ascii_lowercase();
        let is_name = name.parse::<hyper::header::HeaderName>().is_ok();
        if !is_name || name.len() > HEADER_NAME_CHARS_MAX {
            return refused("is not a header's name");
        }
        let is_own = OWN_HEADERS.contains(&name.as_str())
            || OWN_HEADER_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if is_own {
            return refused("is set by the daemon itself");
        }
        if headers.iter().any(|(known, _)| *known == name) {
            return refused("stands twice");
        }
        let Ok(value) = serde_json::from_str::<Option<String>>(raw.get()) else {
            return refused("must be a string");
        };
        let is_value = |text: &String| {
            let is_shown = |byte: u8| matches!(byte, b' '..=b'~');
            text.len() <= HEADER_VALUE_CHARS_MAX && text.bytes().all(is_shown)
        };
        if !value.as_ref().is_none_or(is_value) {
            return refused("must be at most 1000 printable characters of ASCII");
        }
        headers.push((name, value));
    }
    Ok(headers)
}
