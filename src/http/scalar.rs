//! JSON scalars and the free details of objects, in and out. A number keeps its text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::http::reply::ApiError;
use crate::http::text;
use crate::model::customer::{Metadata, MetadataValue};
use crate::model::{FilterValue, Scalar};

/// Pairs of an object's metadata.
const METADATA_PAIRS_MAX: usize = 50;
/// Characters of a key of an object's metadata.
const METADATA_KEY_CHARS_MAX: usize = 40;
/// Characters of a value of an object's metadata.
const METADATA_VALUE_CHARS_MAX: usize = 500;

/// A JSON string, number or boolean; a number is its text, never a float.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JsonScalar<'a> {
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// A number's text.
    Number(Cow<'a, str>),
    /// A boolean.
    Boolean(bool),
}

impl<'a> JsonScalar<'a> {
    /// The scalar in `raw`; nothing when it is an array, an object or `null`.
    pub(crate) fn read(raw: &'a RawValue) -> Option<Self> {
        let text = raw.get();
        match text.as_bytes().first()? {
            b'"' => serde_json::from_str(text).ok().map(|text| Self::String(Cow::Owned(text))),
            b't' => Some(Self::Boolean(true)),
            b'f' => Some(Self::Boolean(false)),
            b'-' | b'0'..=b'9' => Some(Self::Number(Cow::Borrowed(text))),
            _ => None,
        }
    }

    /// The characters of a string or of a number's text.
    pub(crate) fn chars_count(&self) -> usize {
        match self {
            Self::String(text) | Self::Number(text) => text.chars().count(),
            Self::Boolean(_) => 0,
        }
    }
}

impl From<JsonScalar<'_>> for FilterValue {
    fn from(scalar: JsonScalar<'_>) -> Self {
        match scalar {
            JsonScalar::String(text) => Self::String(text.into_owned()),
            JsonScalar::Number(text) => Self::Number(text.into_owned()),
            JsonScalar::Boolean(value) => Self::Boolean(value),
        }
    }
}

impl<'a> From<&'a FilterValue> for JsonScalar<'a> {
    fn from(value: &'a FilterValue) -> Self {
        match value {
            FilterValue::String(text) => Self::String(text.into()),
            FilterValue::Number(text) => Self::Number(text.into()),
            FilterValue::Boolean(value) => Self::Boolean(*value),
        }
    }
}

impl From<JsonScalar<'_>> for MetadataValue {
    fn from(scalar: JsonScalar<'_>) -> Self {
        match scalar {
            JsonScalar::String(text) => Self::String(text.into_owned()),
            JsonScalar::Number(text) => Self::Number(text.into_owned()),
            JsonScalar::Boolean(value) => Self::Boolean(value),
        }
    }
}

impl<'a> From<&'a MetadataValue> for JsonScalar<'a> {
    fn from(value: &'a MetadataValue) -> Self {
        match value {
            MetadataValue::String(text) => Self::String(text.into()),
            MetadataValue::Number(text) => Self::Number(text.into()),
            MetadataValue::Boolean(value) => Self::Boolean(*value),
        }
    }
}

impl<'a> From<&'a Scalar<'_>> for JsonScalar<'a> {
    fn from(value: &'a Scalar<'_>) -> Self {
        match value {
            Scalar::String(text) => Self::String(text.as_ref().into()),
            Scalar::Number(number) => Self::Number(number.as_str().into()),
            Scalar::Boolean(value) => Self::Boolean(*value),
        }
    }
}

impl Serialize for JsonScalar<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::String(text) => serializer.serialize_str(text),
            Self::Number(text) => {
                let raw: &RawValue = serde_json::from_str(text).map_err(S::Error::custom)?;
                raw.serialize(serializer)
            }
            Self::Boolean(value) => serializer.serialize_bool(*value),
        }
    }
}

impl PartialSchema for JsonScalar<'_> {
    fn schema() -> RefOr<Schema> {
        let one = |kind| ObjectBuilder::new().schema_type(kind).build();
        let any = OneOfBuilder::new();
        let any = any.item(one(Type::String)).item(one(Type::Number)).item(one(Type::Boolean));
        any.description(Some("a string, number or boolean")).into()
    }
}

impl ToSchema for JsonScalar<'_> {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Scalar")
    }
}

/// The members of a JSON object in their order.
#[derive(Clone, Debug)]
pub(crate) struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

impl<'a> Members<'a> {
    /// The members as they stand there.
    pub(crate) fn into_pairs(self) -> Vec<(String, &'a RawValue)> {
        self.0
    }

    /// The metadata of a general object.
    ///
    /// # Errors
    /// 422 for more than 50 pairs, for a key of more than 40 characters or one that stands twice,
    /// for a value of more than 500 characters or one that is not a scalar.
    pub(crate) fn into_metadata(self) -> Result<Metadata, ApiError> {
        if self.0.len() > METADATA_PAIRS_MAX {
            let message = format!("metadata has more than {METADATA_PAIRS_MAX} pairs");
            return Err(ApiError::too_many_keys(message));
        }
        let mut metadata = Metadata::with_capacity(self.0.len());
        for (key, raw) in self.0 {
            let key = text::required("metadata", Some(key), METADATA_KEY_CHARS_MAX)?;
            let field = format!("metadata.{key}");
            if metadata.iter().any(|(earlier, _)| *earlier == key) {
                return Err(ApiError::invalid(&field, format!("{field} stands twice")));
            }
            let Some(value) = JsonScalar::read(raw) else {
                let message = format!("{field} must be a string, number or boolean");
                return Err(ApiError::invalid(&field, message));
            };
            if value.chars_count() > METADATA_VALUE_CHARS_MAX {
                let message =
                    format!("{field} has more than {METADATA_VALUE_CHARS_MAX} characters");
                return Err(ApiError::invalid(&field, message));
            }
            metadata.push((key, value.into()));
        }
        Ok(metadata)
    }
}

/// Pairs that print as a JSON object.
#[derive(Clone, Debug)]
pub(crate) struct Pairs<K, V>(pub(crate) Vec<(K, V)>);

impl<K: AsRef<str>, V> Serialize for Pairs<K, V>
where
    for<'a> JsonScalar<'a>: From<&'a V>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key.as_ref(), &JsonScalar::from(value))?;
        }
        map.end()
    }
}

/// Texts under names that print as a JSON object.
#[derive(Clone, Debug)]
pub(crate) struct Texts(pub(crate) Vec<(String, String)>);

impl Serialize for Texts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, text)| (name, text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(text: &str) -> Result<Metadata, ApiError> {
        serde_json::from_str::<Members<'_>>(text).unwrap().into_metadata()
    }

    fn refused(text: &str) -> (&'static str, Option<String>) {
        let error = metadata(text).unwrap_err();
        assert_eq!(error.status(), 422);
        (error.body().code, error.body().field.clone())
    }

    #[test]
    fn metadata_prints_as_it_was_given() {
        let text = r#"{"z":"a\"b","n":1.10,"huge":1e400,"long":12345678901234567890.123,"t":true,"f":false}"#;
        assert_eq!(serde_json::to_string(&Pairs(metadata(text).unwrap())).unwrap(), text);
    }

    #[test]
    fn metadata_beyond_its_limits_is_refused_by_name() {
        let pairs = |count: usize| {
            let pairs: Vec<_> = (0..count).map(|i| format!(r#""k{i}":{i}"#)).collect();
            format!("{{{}}}", pairs.join(","))
        };
        assert_eq!(metadata(&pairs(50)).unwrap().len(), 50);
        assert_eq!(refused(&pairs(51)).0, "MAXIMUM_KEYS_REACHED");
        let named = |field: &str| ("INVALID_REQUEST_PARAMETERS", Some(field.to_owned()));
        assert_eq!(refused(r#"{"a":[1]}"#), named("metadata.a"));
        assert_eq!(refused(r#"{"a":{}}"#), named("metadata.a"));
        assert_eq!(refused(r#"{"a":null}"#), named("metadata.a"));
        assert_eq!(refused(r#"{"a":1,"a":2}"#), named("metadata.a"));
        assert_eq!(refused(r#"{"":1}"#), named("metadata"));
        assert_eq!(refused(&format!(r#"{{"{}":1}}"#, "k".repeat(41))), named("metadata"));
        assert_eq!(refused(&format!(r#"{{"a":"{}"}}"#, "v".repeat(501))), named("metadata.a"));
        assert!(metadata(&format!(r#"{{"{}":"{}"}}"#, "é".repeat(40), "é".repeat(500))).is_ok());
    }
}
