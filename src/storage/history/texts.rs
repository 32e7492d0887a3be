//! Columns of texts: event ids, customers, names, metadata values.
//!
//! A column with few distinct texts is a list of these and one byte a value; any other is written
//! with what a text shares with the one before it left out. Which of the two stands in front, as one
//! byte.

use hashbrown::HashMap;

use crate::storage::history::pack::{Fault, Input, Packer, Unpacker};

const PLAIN: u8 = 0;
const DICTIONARY: u8 = 1;

/// Distinct texts of a column that are worth a list, at most: a place in it is one byte.
const DISTINCT_MAX: usize = 256;
/// A list pays when a value stands in it for this many on average.
const REPEATED_MIN: usize = 2;

/// Texts, one behind the other in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TextList {
    buffer: String,
    /// Where each ends.
    ends: Vec<u32>,
}

impl TextList {
    /// Appends a text.
    pub(super) fn push(&mut self, text: &str) {
        self.buffer.push_str(text);
        let end = u32::try_from(self.buffer.len()).expect("a block has less than 4 GiB of text");
        self.ends.push(end);
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The text at `place`.
    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&str> {
        let end = *self.ends.get(place)?;
        let start = match place.checked_sub(1) {
            None => 0,
            Some(before) => *self.ends.get(before)?,
        };
        self.buffer.get(start as usize..end as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|place| self.get(place))
    }

    /// Appends the texts, packed; how many there are the reader must know.
    pub(super) fn pack(&self, packer: &mut Packer, out: &mut Vec<u8>) {
        if let Some((distinct, places)) = self.dictionary() {
            out.push(DICTIONARY);
            packer.integers(&[distinct.len() as u64], out);
            distinct.pack_plain(packer, out);
            packer.stream(&places, out);
        } else {
            out.push(PLAIN);
            self.pack_plain(packer, out);
        }
    }

    /// The distinct texts by first appearance, and each value's place among them, when that pays.
    fn dictionary(&self) -> Option<(Self, Vec<u8>)> {
        let mut places: HashMap<&str, u8> = HashMap::new();
        let mut distinct = Self::default();
        let mut column = Vec::with_capacity(self.len());
        let distinct_max = DISTINCT_MAX.min(self.len() / REPEATED_MIN);
        for text in self.iter() {
            let place = match places.get(text) {
                Some(place) => *place,
                None if distinct.len() >= distinct_max => return None,
                None => {
                    let place = u8::try_from(distinct.len()).expect("below 256");
                    distinct.push(text);
                    places.insert(text, place);
                    place
                }
            };
            column.push(place);
        }
        (!column.is_empty()).then_some((distinct, column))
    }

    fn pack_plain(&self, packer: &mut Packer, out: &mut Vec<u8>) {
        let mut lengths = Vec::with_capacity(self.len());
        let mut shared = Vec::with_capacity(self.len());
        let mut rests = Vec::with_capacity(self.buffer.len());
        let mut before: &[u8] = &[];
        for text in self.iter() {
            let bytes = text.as_bytes();
            let same = before.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            lengths.push(bytes.len() as u64);
            shared.push(same as u64);
            rests.extend_from_slice(bytes.split_at(same).1);
            before = bytes;
        }
        packer.integers(&lengths, out);
        packer.integers(&shared, out);
        packer.stream(&rests, out);
    }

    /// The `count` texts that stand next in `input`, as [`Self::pack_plain`] wrote them.
    fn unpack_plain(
        unpacker: &mut Unpacker,
        input: &mut Input<'_>,
        count: usize,
    ) -> Result<Self, Fault> {
        let lengths = unpacker.integers(input, count)?;
        let shared = unpacker.integers(input, count)?;
        let rests = unpacker.stream(input)?;
        let total = lengths.iter().fold(0_u64, |sum, length| sum.saturating_add(*length));
        let mut buffer = Vec::with_capacity(unpacker.spend(total)?);
        let mut ends = Vec::with_capacity(count);
        let mut rests = Input(&rests);
        let mut start = 0;
        for (length, same) in lengths.into_iter().zip(shared) {
            // Fits: the sum of all lengths was within the budget.
            let (length, same) = (index(length)?, index(same)?);
            let own = length.checked_sub(same).ok_or(Fault("a text shares more than it has"))?;
            let end = buffer.len();
            if same > end - start {
                return Err(Fault("a text shares more than there is"));
            }
            buffer.extend_from_within(start..start + same);
            buffer.extend_from_slice(rests.take(own)?);
            start = end;
            ends.push(u32::try_from(buffer.len()).map_err(|_| Fault("texts are too long"))?);
        }
        let buffer = String::from_utf8(buffer).map_err(|_| Fault("a text is not UTF-8"))?;
        if ends.iter().any(|end| !buffer.is_char_boundary(*end as usize)) {
            return Err(Fault("a text is not UTF-8"));
        }
        Ok(Self { buffer, ends })
    }
}

fn index(value: u64) -> Result<usize, Fault> {
    usize::try_from(value).map_err(|_| Fault("texts are too long"))
}

/// A column of texts as it was read.
#[derive(Debug)]
pub(super) struct Texts {
    list: TextList,
    /// Each value's place in the list; without it the list has the values themselves.
    places: Option<Vec<u8>>,
}

impl Texts {
    /// The next column of `count` texts in `input`.
    pub(super) fn unpack(
        unpacker: &mut Unpacker,
        input: &mut Input<'_>,
        count: usize,
    ) -> Result<Self, Fault> {
        match input.byte()? {
            PLAIN => {
                let list = TextList::unpack_plain(unpacker, input, count)?;
                Ok(Self { list, places: None })
            }
            DICTIONARY => {
                let distinct = unpacker.integers(input, 1)?.first().copied().unwrap_or(0);
                let distinct = index(distinct)?;
                if distinct > DISTINCT_MAX {
                    return Err(Fault("a list of texts is too long"));
                }
                let list = TextList::unpack_plain(unpacker, input, distinct)?;
                let places = unpacker.stream(input)?;
                if places.len() != count || places.iter().any(|it| usize::from(*it) >= distinct) {
                    return Err(Fault("a text is not in its list"));
                }
                Ok(Self { list, places: Some(places) })
            }
            _ => Err(Fault("a column of texts has an unknown form")),
        }
    }

    /// The text of value `place`.
    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&str> {
        match &self.places {
            None => self.list.get(place),
            Some(places) => self.list.get(usize::from(*places.get(place)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(texts: &[String]) -> Vec<u8> {
        let mut list = TextList::default();
        for text in texts {
            list.push(text);
        }
        let mut bytes = Vec::new();
        list.pack(&mut Packer::new(), &mut bytes);
        bytes
    }

    fn unpacked(bytes: &[u8], count: usize) -> Result<Vec<String>, Fault> {
        let mut unpacker = Unpacker::new();
        unpacker.allow(1 << 20);
        let mut input = Input(bytes);
        let texts = Texts::unpack(&mut unpacker, &mut input, count)?;
        assert!(input.0.is_empty());
        Ok((0..count).map(|place| texts.get(place).unwrap().to_owned()).collect())
    }

    #[test]
    fn a_letter_of_several_bytes_may_be_shared_in_part() {
        let texts = ["ä", "ö", "öä", ""].map(str::to_owned);
        assert_eq!(unpacked(&packed(&texts), 4).unwrap(), texts);
    }

    #[test]
    fn repeated_texts_stand_once() {
        let texts = vec!["a rather long text".to_owned(); 1000];
        let bytes = packed(&texts);
        assert!(bytes.len() < 40, "{}", bytes.len());
        assert_eq!(unpacked(&bytes, 1000).unwrap(), texts);
    }

    proptest! {
        #[test]
        fn texts_come_back(
            texts in prop_oneof![
                prop::collection::vec("[a-c]{0,2}", 0..600),
                prop::collection::vec("\\PC{0,6}", 0..300),
                prop::collection::vec("[a-z]{6}", 500..700),
            ],
        ) {
            prop_assert_eq!(unpacked(&packed(&texts), texts.len()).unwrap(), texts);
        }

        #[test]
        fn no_bytes_make_reading_panic(
            texts in prop::collection::vec("[a-cä]{0,2}", 0..20),
            at: prop::sample::Index,
            byte: u8,
        ) {
            let mut bytes = packed(&texts);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let mut unpacker = Unpacker::new();
            unpacker.allow(1 << 16);
            if let Ok(read) = Texts::unpack(&mut unpacker, &mut Input(&bytes), texts.len()) {
                for place in 0..texts.len() {
                    prop_assert!(read.get(place).is_some());
                }
            }
        }
    }
}
