//! A cursor over JSON text that knows tokens, scalars and how to pass over what nobody reads.
//!
//! Every method leaves the cursor behind what it read. Arrays and objects are passed over in a loop
//! with the kinds of the open ones in the bits of one byte, never by recursion.

use std::borrow::Cow;

use crate::http::decode::keys::Keys;
use crate::http::decode::string::{plain_length, unescape};
use crate::http::decode::{DecodeError, malformed};
use crate::model::{Number, RawValue};

/// Arrays and objects that may be open at once in a value that is passed over.
const DEPTH_MAX: u32 = 8;
const _: () = assert!(DEPTH_MAX == u8::BITS, "`Nesting` keeps one bit a level");

/// The cursor.
pub(super) struct Scanner<'a> {
    text: &'a str,
    /// Never beyond the text's length.
    at: usize,
}

/// The name of an object's member; the cursor stands behind its colon.
pub(super) struct Key<'a> {
    /// Where the name's opening quote stands, in bytes from the start of the text.
    pub(super) offset: usize,
    /// The name, unescaped.
    pub(super) name: Cow<'a, str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// The open arrays and objects, innermost in the lowest bit; a set bit is an object.
#[derive(Default)]
struct Nesting {
    kinds: u8,
    depth: u32,
}

impl Nesting {
    fn push(&mut self, container: Container) -> bool {
        if self.depth == DEPTH_MAX {
            return false;
        }
        self.kinds = self.kinds << 1 | u8::from(container == Container::Object);
        self.depth += 1;
        true
    }

    fn pop(&mut self) {
        self.kinds >>= 1;
        self.depth -= 1;
    }

    fn innermost(&self) -> Option<Container> {
        let kind = if self.kinds & 1 == 1 { Container::Object } else { Container::Array };
        (self.depth > 0).then_some(kind)
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Where the cursor stands, in bytes from the start of the text.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).expect("the cursor never passes the end")
    }

    /// The next byte that is not white space, not consumed; nothing at the end.
    #[inline]
    pub(super) fn token(&mut self) -> Option<u8> {
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                next => return next.copied(),
            }
        }
    }

    fn unexpected(&self, message: &'static str) -> DecodeError {
        let at_end = self.at == self.text.len();
        malformed(self.at, if at_end { "the body ends too early" } else { message })
    }

    /// Consumes `bracket` and gives its offset; `otherwise` is the complaint when it is not there.
    pub(super) fn open(
        &mut self,
        bracket: u8,
        otherwise: &'static str,
    ) -> Result<usize, DecodeError> {
        if self.token() != Some(bracket) {
            return Err(self.unexpected(otherwise));
        }
        self.at += 1;
        Ok(self.at - 1)
    }

    /// Makes sure that nothing but white space is left.
    pub(super) fn end(&mut self) -> Result<(), DecodeError> {
        match self.token() {
            None => Ok(()),
            Some(_) => Err(malformed(self.at, "something follows the body's object")),
        }
    }

    /// Behind an opening brace: whether a member's key is next.
    #[inline]
    pub(super) fn has_first_member(&mut self) -> bool {
        let is_end = self.token() == Some(b'}');
        self.at += usize::from(is_end);
        !is_end
    }

    /// Behind a member's value: whether another member's key is next.
    #[inline]
    pub(super) fn has_next_member(&mut self) -> Result<bool, DecodeError> {
        match self.token() {
            Some(b',') => {
                self.at += 1;
                self.token();
                Ok(true)
            }
            Some(b'}') => {
                self.at += 1;
                Ok(false)
            }
            Some(_) | None => Err(self.unexpected("expected `,` or `}`")),
        }
    }

    /// Behind an opening brace: the first member's key, or nothing when the object ends here.
    #[inline]
    pub(super) fn first_key(&mut self) -> Result<Option<Key<'a>>, DecodeError> {
        if self.has_first_member() { self.key().map(Some) } else { Ok(None) }
    }

    /// Behind a member's value: the next member's key, or nothing when the object ends here.
    #[inline]
    pub(super) fn next_key(&mut self) -> Result<Option<Key<'a>>, DecodeError> {
        if self.has_next_member()? { self.key().map(Some) } else { Ok(None) }
    }

    /// Behind an opening bracket: whether there is a first element.
    pub(super) fn first_element(&mut self) -> Result<bool, DecodeError> {
        match self.token() {
            Some(b']') => {
                self.at += 1;
                Ok(false)
            }
            Some(_) => Ok(true),
            None => Err(self.unexpected("expected a value or `]`")),
        }
    }

    /// Behind an element: whether there is a next one.
    pub(super) fn next_element(&mut self) -> Result<bool, DecodeError> {
        match self.token() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(b']') => {
                self.at += 1;
                Ok(false)
            }
            Some(_) | None => Err(self.unexpected("expected `,` or `]`")),
        }
    }

    #[inline]
    fn key(&mut self) -> Result<Key<'a>, DecodeError> {
        if self.token() != Some(b'"') {
            return Err(self.unexpected("expected a key"));
        }
        let offset = self.at;
        let name = self.string()?;
        if self.token() != Some(b':') {
            return Err(self.unexpected("expected `:`"));
        }
        self.at += 1;
        Ok(Key { offset, name })
    }

    /// What the key at the cursor stands for, when it is the one that stood there before.
    #[inline]
    pub(super) fn known_key<T: Copy>(&mut self, keys: &mut Keys<'a, T>) -> Option<T> {
        let (length, means) = keys.again(self.rest())?;
        self.at += length;
        Some(means)
    }

    /// The key at the cursor, which may stand there again in the next object and stands for `means` of it then.
    pub(super) fn new_key<T: Copy>(
        &mut self,
        keys: &mut Keys<'a, T>,
        means: impl FnOnce(&'a str) -> T,
    ) -> Result<Cow<'a, str>, DecodeError> {
        let Key { offset, name } = self.key()?;
        let token = self.text.as_bytes().get(offset..self.at).unwrap_or_default();
        // Neither escapes nor white space.
        let plain = match name {
            Cow::Borrowed(name) if token.len() == name.len() + r#""":"#.len() => Some(name),
            Cow::Borrowed(_) | Cow::Owned(_) => None,
        };
        keys.step_over(plain.map(|name| (token, means(name))));
        Ok(name)
    }

    /// The next value; of an array or object only the kind, its content is checked and passed over.
    #[inline]
    pub(super) fn value(&mut self) -> Result<RawValue<'a>, DecodeError> {
        match self.token() {
            Some(b'[') => self.pass_over().map(|()| RawValue::Array),
            Some(b'{') => self.pass_over().map(|()| RawValue::Object),
            Some(first) => self.scalar(first),
            None => Err(self.unexpected("expected a value")),
        }
    }

    /// The scalar at the cursor, whose first byte is `first`.
    #[inline]
    fn scalar(&mut self, first: u8) -> Result<RawValue<'a>, DecodeError> {
        match first {
            b'"' => self.string().map(RawValue::String),
            b'-' | b'0'..=b'9' => self.number().map(RawValue::Number),
            b't' => self.literal(b"true", RawValue::Boolean(true)),
            b'f' => self.literal(b"false", RawValue::Boolean(false)),
            b'n' => self.literal(b"null", RawValue::Null),
            _ => Err(self.unexpected("expected a value")),
        }
    }

    /// The string whose opening quote is at the cursor.
    #[inline]
    fn string(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        let start = self.at + 1;
        let inside = self.text.as_bytes().get(start..).unwrap_or_default();
        let end = start + plain_length(inside);
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            let text = self.text.get(start..end);
            return Ok(Cow::Borrowed(text.expect("quotes stand between characters")));
        }
        let (text, behind) = unescape(self.text, start)?;
        self.at = behind;
        Ok(Cow::Owned(text))
    }

    #[inline]
    fn number(&mut self) -> Result<Number<'a>, DecodeError> {
        let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let text = self.text.get(self.at..).unwrap_or_default();
        match Number::at_front(text) {
            Some((number, behind)) if !behind.as_bytes().first().is_some_and(is_part) => {
                self.at = self.text.len() - behind.len();
                Ok(number)
            }
            Some(_) | None => Err(malformed(self.at, "not a JSON number")),
        }
    }

    fn literal(&mut self, word: &[u8], value: RawValue<'a>) -> Result<RawValue<'a>, DecodeError> {
        if !self.rest().starts_with(word) {
            return Err(malformed(self.at, "expected a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    /// Passes over the array or object at the cursor.
    fn pass_over(&mut self) -> Result<(), DecodeError> {
        let mut nesting = Nesting::default();
        loop {
            let opened = match self.token() {
                Some(b'[') => Some(Container::Array),
                Some(b'{') => Some(Container::Object),
                Some(first) => self.scalar(first).map(|_| None)?,
                None => return Err(self.unexpected("expected a value")),
            };
            let mut more = false;
            if let Some(container) = opened {
                if !nesting.push(container) {
                    return Err(malformed(self.at, "nested too deeply"));
                }
                self.at += 1;
                more = match container {
                    Container::Array => self.first_element()?,
                    Container::Object => self.first_key()?.is_some(),
                };
                if !more {
                    nesting.pop();
                }
            }
            // Behind a whole value: close what ends here, up to the next one that goes on.
            while !more {
                more = match nesting.innermost() {
                    None => return Ok(()),
                    Some(Container::Array) => self.next_element()?,
                    Some(Container::Object) => self.next_key()?.is_some(),
                };
                if !more {
                    nesting.pop();
                }
            }
        }
    }
}
