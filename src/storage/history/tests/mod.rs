//! Tests of the whole of history, against a list of what was put in.

mod damage;
mod faults;
mod format;
mod load;
mod model;

use std::sync::Arc;

use crate::model::{Event, Lsn, Number, Scalar, Timestamp};
use crate::storage::history::{Error, History, Progress, Reader, Record, Stored, Writer};
use crate::storage::index::{IdHash, IdHasher};
use crate::storage::log::Incarnation;
use crate::world::sim::SimDisk;

const OWNER: Incarnation = Incarnation([7; 16]);

/// One LSN's worth of what stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Event(Stored<'static>),
    Record { lsn: Lsn, log_time: Timestamp, payload: Vec<u8> },
}

impl Item {
    fn lsn(&self) -> Lsn {
        match self {
            Self::Event(stored) => stored.lsn,
            Self::Record { lsn, .. } => *lsn,
        }
    }

    fn event(&self) -> Option<&Stored<'static>> {
        match self {
            Self::Event(stored) => Some(stored),
            Self::Record { .. } => None,
        }
    }
}

fn hasher() -> IdHasher {
    IdHasher::new([3; 16])
}

fn hash(id: &str) -> IdHash {
    hasher().hash(id)
}

fn nanos(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn open(disk: &SimDisk) -> Result<History, Error> {
    History::open(Arc::new(disk.clone()), OWNER, hasher())
}

fn push(writer: &mut Writer, item: &Item) -> Result<(), Error> {
    match item {
        Item::Event(stored) => writer.event(stored, hash(&stored.event.id)),
        Item::Record { lsn, log_time, payload } => {
            writer.record(&Record { lsn: *lsn, log_time: *log_time, payload })
        }
    }
}

fn write(history: &History, items: &[Item]) -> Result<(), Error> {
    let mut writer = history.writer(items[0].lsn())?;
    for item in items {
        push(&mut writer, item)?;
    }
    while writer.finish_step()? == Progress::Working {}
    Ok(())
}

/// Everything from `first` to `last`, by a scan forward.
fn read(history: &History, first: u64, last: u64) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    let mut reader = Reader::new();
    for part in history.scan_forward(Lsn(first)..=Lsn(last))? {
        let part = part?;
        let start = items.len();
        part.events::<Error>(&mut reader, |stored| {
            items.push(Item::Event(owned(&stored)));
            Ok(())
        })?;
        part.records::<Error>(&mut reader, |Record { lsn, log_time, payload }| {
            items.push(Item::Record { lsn, log_time, payload: payload.to_vec() });
            Ok(())
        })?;
        items[start..].sort_by_key(Item::lsn);
    }
    Ok(items)
}

fn owned(stored: &Stored<'_>) -> Stored<'static> {
    let event = &stored.event;
    let text = |text: &str| text.to_owned().into();
    Stored {
        lsn: stored.lsn,
        received_at: stored.received_at,
        event: Event {
            id: text(&event.id),
            customer_id: text(&event.customer_id),
            name: text(&event.name),
            timestamp: event.timestamp,
            timestamp_given: event.timestamp_given,
            metadata: event.metadata.as_ref().map(|members| {
                members.iter().map(|(key, value)| (text(key), owned_scalar(value))).collect()
            }),
        },
    }
}

fn owned_scalar(value: &Scalar<'_>) -> Scalar<'static> {
    match value {
        Scalar::String(text) => Scalar::String(text.to_string().into()),
        // Numbers borrow: tests make few, and leaking those is simpler than a second event type.
        Scalar::Number(number) => {
            Scalar::Number(Number::new(String::leak(number.as_str().to_owned())).unwrap())
        }
        Scalar::Boolean(value) => Scalar::Boolean(*value),
    }
}

/// Numbers that look random and are the same every time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Something that can stand at `lsn`; now and then a record that is no event.
    fn item(&mut self, lsn: u64) -> Item {
        let lsn = Lsn(lsn);
        if self.below(9) == 0 {
            let payload = (0..self.below(40)).map(|byte| u8::try_from(byte).unwrap()).collect();
            let log_time = nanos(self.below(5000).cast_signed());
            return Item::Record { lsn, log_time, payload };
        }
        let received_at = nanos(lsn.0.cast_signed() * 1000 + self.below(5).cast_signed());
        let timestamp_given = self.below(3) > 0;
        let timestamp = match self.below(20) {
            0 => nanos(if self.below(2) == 0 { i64::MIN } else { i64::MAX }),
            _ => nanos((lsn.0 * 1000).cast_signed() - self.below(9).cast_signed() * 1000),
        };
        let metadata = (self.below(5) > 0).then(|| self.members());
        let event = Event {
            // Some ids come twice: their window was over.
            id: format!("evt_{}", self.below(lsn.0 * 50)).into(),
            customer_id: format!("customer {}", self.below(300)).into(),
            name: format!("name {}", self.below(1 + lsn.0 / 500)).into(),
            timestamp: if timestamp_given { timestamp } else { received_at },
            timestamp_given,
            metadata,
        };
        Item::Event(Stored { lsn, received_at, event })
    }

    fn members(&mut self) -> Vec<(std::borrow::Cow<'static, str>, Scalar<'static>)> {
        let keys = if self.below(50) == 0 { 200 } else { 4 };
        let mut keys: Vec<_> = (0..self.below(4)).map(|_| self.below(keys)).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut value = |key| match (key + self.below(2)) % 4 {
            0 => Scalar::String(format!("ü{}", self.below(1000)).into()),
            1 => Scalar::String(["gpt", "", "ß"][usize::try_from(self.below(3)).unwrap()].into()),
            2 => Scalar::Boolean(self.below(2) == 0),
            _ => Scalar::Number(
                Number::new(["1.50e3", "-0", "12", "7"][usize::try_from(self.below(4)).unwrap()])
                    .unwrap(),
            ),
        };
        keys.into_iter().map(|key| (format!("k{key}").into(), value(key))).collect()
    }

    /// `count` items from `first` on.
    fn items(&mut self, first: u64, count: u64) -> Vec<Item> {
        (first..first + count).map(|lsn| self.item(lsn)).collect()
    }
}
