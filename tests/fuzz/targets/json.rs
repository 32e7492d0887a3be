//! JSON as `serde_json` reads it, level by level, into a tree that keeps the text of numbers and every
//! member of an object, repeated names and all.

use std::fmt;

use quipu::model::{Number, RawValue};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue as Json;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean(bool),
    /// A number's text.
    Number(String),
    /// A string, unescaped.
    String(String),
    /// The elements.
    Array(Vec<Tree>),
    /// The members in their order.
    Object(Vec<(String, Tree)>),
}

struct Members<'a>(Vec<(String, &'a Json)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Tree {
    /// The value that `bytes` are.
    ///
    /// # Errors
    /// What `serde_json` says.
    pub fn read(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let json: &Json = serde_json::from_slice(bytes)?;
        let text = json.get();
        Ok(match text.as_bytes()[0] {
            b'n' => Self::Null,
            b't' => Self::Boolean(true),
            b'f' => Self::Boolean(false),
            b'"' => Self::String(serde_json::from_str(text)?),
            b'[' => {
                let elements: Vec<&Json> = serde_json::from_str(text)?;
                let elements: Result<_, _> =
                    elements.iter().map(|element| Self::read(element.get().as_bytes())).collect();
                Self::Array(elements?)
            }
            b'{' => {
                let Members(members) = serde_json::from_str(text)?;
                let members: Result<_, serde_json::Error> = members
                    .into_iter()
                    .map(|(name, value)| Ok((name, Self::read(value.get().as_bytes())?)))
                    .collect();
                Self::Object(members?)
            }
            _ => Self::Number(text.to_owned()),
        })
    }

    /// How many arrays and objects stand inside each other.
    pub fn depth(&self) -> usize {
        match self {
            Self::Array(elements) => 1 + elements.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => 1 + members.iter().map(|(_, v)| v.depth()).max().unwrap_or(0),
            Self::Null | Self::Boolean(_) | Self::Number(_) | Self::String(_) => 0,
        }
    }

    /// The members, if it is an object in which none of `names` stands twice.
    pub fn members(&self, names: &[&str]) -> Option<&[(String, Self)]> {
        let Self::Object(members) = self else { return None };
        let count = |name: &str| members.iter().filter(|(other, _)| other == name).count();
        names.iter().all(|name| count(name) <= 1).then_some(members.as_slice())
    }

    /// What the ingest decoder makes of it; `None` when it is nested too deeply.
    ///
    /// # Panics
    /// When Quipu takes a number of `serde_json` for none.
    pub fn value(&self) -> Option<RawValue<'_>> {
        (self.depth() <= 8).then(|| match self {
            Self::Null => RawValue::Null,
            Self::Boolean(value) => RawValue::Boolean(*value),
            Self::Number(text) => RawValue::Number(Number::new(text).unwrap()),
            Self::String(text) => RawValue::String(text.into()),
            Self::Array(_) => RawValue::Array,
            Self::Object(_) => RawValue::Object,
        })
    }
}
