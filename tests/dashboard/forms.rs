//! Forms of pages as the script reads them: what it would send to the API.

use serde_json::{Map, Value, json};

use crate::common::client::Answer;
use crate::viewer::Viewer;

/// A form with `data-api`.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    method: String,
    path: String,
    inputs: Vec<Input>,
}

#[expect(clippy::struct_excessive_bools, reason = "attributes of HTML are there or not")]
#[derive(Clone, Debug, Default)]
struct Input {
    name: String,
    value: String,
    /// `data-type`.
    kind: String,
    is_box: bool,
    is_select: bool,
    is_checked: bool,
    is_disabled: bool,
    is_optional: bool,
    /// Whether an empty text is none.
    is_nullable: bool,
    /// It is sent only where another input has one of these values.
    when: Option<(String, Vec<String>)>,
}

/// A tag: its name, its attributes, and the text behind it.
struct Tag<'p> {
    name: &'p str,
    attributes: Vec<(String, String)>,
    text: &'p str,
}

impl Tag<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The text that entities stand for.
fn plain(text: &str) -> String {
    let entities =
        [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, char)| text.replace(entity, char))
}

fn tags(page: &str) -> Vec<Tag<'_>> {
    let parts = page.split('<').skip(1).filter_map(|part| part.split_once('>'));
    let tag = |(inside, text)| {
        let inside: &str = inside;
        let (name, rest) = inside.split_once([' ', '\n']).unwrap_or((inside, ""));
        Tag { name, attributes: attributes(rest), text }
    };
    parts.map(tag).collect()
}

fn attributes(mut rest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start();
        let end = rest.find([' ', '=', '\n']).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        if name.is_empty() {
            return found;
        }
        if let Some(quoted) = behind.strip_prefix("=\"") {
            let (value, behind) = quoted.split_once('"').unwrap();
            found.push((name.to_owned(), plain(value)));
            rest = behind;
        } else {
            found.push((name.to_owned(), String::new()));
            rest = behind;
        }
    }
}

impl Form {
    /// The form of `page` that calls the API so.
    pub(crate) fn of(page: &str, api: &str) -> Self {
        Self::asking(page, api, None)
    }

    /// The one of those that has an input of this name.
    pub(crate) fn asking_for(page: &str, api: &str, input: &str) -> Self {
        Self::asking(page, api, Some(input))
    }

    fn asking(page: &str, api: &str, input: Option<&str>) -> Self {
        let all = tags(page);
        let is_it =
            |(_, tag): &(usize, &Tag<'_>)| tag.name == "form" && tag.get("data-api") == Some(api);
        let starts = all.iter().enumerate().filter(is_it).map(|(start, _)| start);
        let mut forms = starts.map(|start| Self::read(&all[start..], api));
        let has = |form: &Self| {
            input.is_none_or(|input| form.inputs.iter().any(|known| known.name == input))
        };
        forms.find(has).unwrap_or_else(|| panic!("no {api} with {input:?} in {page}"))
    }

    fn read(all: &[Tag<'_>], api: &str) -> Self {
        let (method, path) = api.split_once(' ').unwrap();
        let (method, path) = (method.to_owned(), path.to_owned());
        let mut form = Self { method, path, inputs: Vec::new() };
        // Whether each open block shows its inputs always, or on a condition.
        let mut blocks: Vec<Option<(String, Vec<String>)>> = Vec::new();
        for tag in all.iter().take_while(|tag| tag.name != "/form") {
            match tag.name {
                "div" => blocks.push(tag.get("data-when").map(|when| {
                    let (name, values) = when.split_once('=').unwrap();
                    (name.to_owned(), values.split(',').map(str::to_owned).collect())
                })),
                "/div" => drop(blocks.pop()),
                "input" | "select" | "textarea" => {
                    form.inputs.push(Input::of(tag, blocks.iter().flatten().last().cloned()));
                }
                "option" if form.inputs.last().is_some_and(|input| input.is_select) => {
                    form.inputs.last_mut().unwrap().offer(tag);
                }
                _ => {}
            }
        }
        form.inputs.retain(|input| !input.name.is_empty());
        form
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let input = self.inputs.iter_mut().find(|input| input.name == name);
        value.clone_into(&mut input.unwrap_or_else(|| panic!("no {name}")).value);
        self
    }

    /// With one box more that is checked.
    pub(crate) fn checked(mut self, name: &str, value: &str) -> Self {
        let mut boxes = self.inputs.iter_mut().filter(|input| input.name == name);
        boxes.find(|input| input.value == value).unwrap().is_checked = true;
        self
    }

    fn is_sent(&self, input: &Input) -> bool {
        let is_shown = input.when.as_ref().is_none_or(|(name, values)| {
            let other = self.inputs.iter().find(|other| other.name == *name).unwrap();
            values.contains(&other.value)
        });
        is_shown
            && !input.is_disabled
            && (!input.is_box || input.is_checked)
            && (!input.is_optional || !input.value.is_empty())
    }

    /// What is sent.
    pub(crate) fn body(&self) -> Value {
        let mut body = Map::new();
        for input in self.inputs.iter().filter(|input| self.is_sent(input)) {
            match input.name.strip_suffix("[]") {
                Some(name) => {
                    let list = body.entry(name).or_insert_with(|| json!([]));
                    list.as_array_mut().unwrap().push(input.read());
                }
                None => drop(body.insert(input.name.clone(), input.read())),
            }
        }
        Value::Object(body)
    }

    /// Sends it.
    pub(crate) fn send(&self, viewer: &mut Viewer) -> Answer {
        let body = self.body();
        let path =
            body.as_object().unwrap().iter().fold(self.path.clone(), |path, (name, value)| {
                path.replace(&format!("{{{name}}}"), value.as_str().unwrap_or_default())
            });
        viewer.change(&self.method, &path, &body)
    }
}

impl Input {
    fn of(tag: &Tag<'_>, when: Option<(String, Vec<String>)>) -> Self {
        let text = |name: &str| tag.get(name).unwrap_or_default().to_owned();
        let inside = tag.text.strip_prefix('\n').unwrap_or(tag.text);
        Self {
            name: text("name"),
            value: if tag.name == "textarea" { plain(inside) } else { text("value") },
            kind: text("data-type"),
            is_box: tag.get("type") == Some("checkbox"),
            is_select: tag.name == "select",
            is_checked: tag.get("checked").is_some(),
            is_disabled: tag.get("disabled").is_some(),
            is_optional: tag.get("data-optional").is_some(),
            is_nullable: tag.get("data-null").is_some(),
            when,
        }
    }

    /// An option of this select: the first one stands until another is chosen.
    fn offer(&mut self, option: &Tag<'_>) {
        let value = option.get("value").map_or_else(|| plain(option.text.trim()), str::to_owned);
        if option.get("selected").is_some() || !self.is_checked {
            self.value = value;
        }
        self.is_checked = true;
    }

    fn read(&self) -> Value {
        let text = self.value.as_str();
        match self.kind.as_str() {
            "number" | "utc" if text.is_empty() => Value::Null,
            "number" | "json" => serde_json::from_str(text).unwrap(),
            "boolean" => json!(text == "true"),
            "utc" => json!(format!("{text}:00Z")),
            "pairs" | "changes" => {
                let pairs = text.lines().filter_map(|line| line.split_once(':'));
                let pair = |(name, value): (&str, &str)| (name.to_owned(), json!(value.trim()));
                Value::Object(pairs.map(pair).collect())
            }
            _ if text.is_empty() && self.is_nullable => Value::Null,
            _ => json!(text),
        }
    }
}
