//! What a form is filled with: an object as the API prints it.

use serde_json::Value;

use crate::http::document::point_moved;

/// Members by name; nothing of a new thing.
#[derive(Clone, Debug, Default)]
pub(super) struct Filled {
    value: Value,
    /// Digits of the currency's minor unit.
    digits: usize,
}

impl Filled {
    pub(super) fn new(value: Value, digits: u32) -> Self {
        Self { value, digits: digits as usize }
    }

    /// One of a list in it.
    fn part(&self, value: &Value) -> Self {
        Self { value: value.clone(), digits: self.digits }
    }

    /// The entries of a list.
    pub(super) fn list(&self, name: &str) -> Vec<Self> {
        let entries = self.value.get(name).and_then(Value::as_array);
        entries.into_iter().flatten().map(|entry| self.part(entry)).collect()
    }

    /// A text, a number or a boolean as it is typed; empty when it is not there.
    pub(super) fn text(&self, name: &str) -> String {
        match self.value.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(
                other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)),
            ) => other.to_string(),
        }
    }

    /// The same, or `otherwise` when it is not there.
    pub(super) fn or(&self, name: &str, otherwise: &str) -> String {
        let text = self.text(name);
        if text.is_empty() { otherwise.to_owned() } else { text }
    }

    /// An amount of the minor unit, as it is typed in the major one.
    pub(super) fn money(&self, name: &str) -> String {
        self.shifted(name, self.digits)
    }

    /// Hundredths, as they are typed as percents.
    pub(super) fn percent(&self, name: &str) -> String {
        self.shifted(name, 2)
    }

    fn shifted(&self, name: &str, digits: usize) -> String {
        let text = self.text(name);
        if text.is_empty() { text } else { point_moved(&text, digits) }
    }

    pub(super) fn is(&self, name: &str, value: &str) -> bool {
        self.text(name) == value
    }

    pub(super) fn has(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_are_filled_in_as_they_are_typed() {
        let filled = Filled::new(
            json!({ "a": "x", "n": 4900, "p": "0.0225", "no": null, "yes": true, "l": [{ "n": 5 }] }),
            2,
        );
        let texts = ["a", "n", "no", "yes", "other"].map(|name| filled.text(name));
        assert_eq!(texts, ["x", "4900", "", "true", ""]);
        assert_eq!(["n", "p", "no"].map(|name| filled.money(name)), ["49", "0.000225", ""]);
        assert_eq!(filled.list("l")[0].money("n"), "0.05");
        assert!(filled.is("yes", "true") && filled.has("n") && !filled.has("no"));
        assert_eq!((filled.or("no", "1"), filled.or("a", "1")), ("1".to_owned(), "x".to_owned()));
    }
}
