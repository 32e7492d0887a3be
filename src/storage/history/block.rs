//! One block: some hundred events and other records with LSNs that follow each other, by columns.
//!
//! A block is what is read at once. Its parts, in the forms of `pack.rs` and `texts.rs`:
//!
//! | part | what |
//! | --- | --- |
//! | 2 varints | items, and how many of them are records other than events |
//! | only with such records | their places among the items, log times, sizes, payloads |
//! | times | arrival of the events |
//! | stream | whether the client gave the timestamp, 0 or 1 |
//! | byte, integers | timestamps: the unit, and differences in it to the one before or to the arrival |
//! | 3 columns of texts | ids, customers, names |
//! | `metadata.rs` | metadata |
//!
//! Times are the first as a varint, then the differences as integers, all of them zigzag. A block has
//! no checksum: whoever reads one has held its bytes against the one in the file's directory.

use std::borrow::Cow;
use std::ops::Range;

use crate::model::{Event, Lsn, Timestamp};
use crate::storage::history::metadata::{self, text_of};
use crate::storage::history::pack::{Fault, Input, Packer, Unpacker, put_varint, unzigzag, zigzag};
use crate::storage::history::texts::{TextList, Texts};
use crate::storage::history::{Record, Stored};

/// Items of a block. More compress a little better; one event is found by reading a whole block.
pub(super) const ITEMS_MAX: usize = 1024;

/// A block is full when its texts and payloads have this many bytes, however few its items are.
pub(super) const FULL_BYTES: usize = 512 << 10;

/// A record that is no event is at most this long, as a frame of the log is.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;

/// The texts of one event have at most this many bytes; those of an admitted one some 100 KB.
pub(super) const EVENT_BYTES_MAX: usize = 1 << 20;

/// What unpacking a block may allocate: payloads; and for each byte of text, which is at worst a
/// member of its own, itself and some integers.
const UNPACKED_BYTES_MAX: usize =
    FULL_BYTES + RECORD_BYTES_MAX + 64 * (FULL_BYTES + EVENT_BYTES_MAX) + ITEMS_MAX * 256;

/// The units that timestamps come in: a client that counts milliseconds gives whole ones.
const UNITS: [i64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];

/// Gathers the items of a block.
#[derive(Default)]
pub(super) struct Builder {
    items: usize,
    bytes: usize,
    record_places: Vec<u64>,
    record_times: Vec<i64>,
    record_sizes: Vec<u64>,
    payloads: Vec<u8>,
    arrivals: Vec<i64>,
    given: Vec<u8>,
    timestamps: Vec<i64>,
    ids: TextList,
    pub(super) customers: TextList,
    pub(super) names: TextList,
    metadata: metadata::Builder,
}

impl Builder {
    /// Appends an event.
    pub(super) fn event(&mut self, stored: &Stored<'_>) {
        let event = &stored.event;
        let members = event.metadata.as_deref().unwrap_or_default();
        let member_bytes: usize =
            members.iter().map(|(key, value)| key.len() + text_of(value).len()).sum();
        let texts = event.id.len() + event.customer_id.len() + event.name.len() + member_bytes;
        assert!(texts <= EVENT_BYTES_MAX, "an admitted event is far shorter");
        self.items += 1;
        self.bytes += texts;
        self.arrivals.push(stored.received_at.as_nanos());
        self.given.push(event.timestamp_given.into());
        self.timestamps.push(event.timestamp.as_nanos());
        self.ids.push(&event.id);
        self.customers.push(&event.customer_id);
        self.names.push(&event.name);
        self.metadata.push(event.metadata.as_ref());
    }

    /// Appends another record.
    pub(super) fn record(&mut self, record: &Record<'_>) {
        assert!(record.payload.len() <= RECORD_BYTES_MAX, "no frame of the log holds a longer one");
        self.record_places.push(self.items as u64);
        self.record_times.push(record.log_time.as_nanos());
        self.record_sizes.push(record.payload.len() as u64);
        self.payloads.extend_from_slice(record.payload);
        self.items += 1;
        self.bytes += record.payload.len();
    }

    pub(super) fn items(&self) -> usize {
        self.items
    }

    pub(super) fn events(&self) -> usize {
        self.arrivals.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.items >= ITEMS_MAX || self.bytes >= FULL_BYTES
    }

    /// The earliest and the latest timestamp of an event.
    pub(super) fn times(&self) -> Option<(Timestamp, Timestamp)> {
        span(&self.timestamps)
    }

    /// The earliest and the latest arrival of an event or log time of a record.
    pub(super) fn arrivals(&self) -> Option<(Timestamp, Timestamp)> {
        let (events, records) = (span(&self.arrivals), span(&self.record_times));
        match (events, records) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (events, records) => events.or(records),
        }
    }

    /// Appends the block's bytes and empties the builder.
    pub(super) fn pack(&mut self, packer: &mut Packer, out: &mut Vec<u8>) {
        put_varint(self.items as u64, out);
        put_varint(self.record_places.len() as u64, out);
        if !self.record_places.is_empty() {
            packer.integers(&self.record_places, out);
            pack_times(&self.record_times, packer, out);
            packer.integers(&self.record_sizes, out);
            packer.stream(&self.payloads, out);
        }
        if !self.arrivals.is_empty() {
            pack_times(&self.arrivals, packer, out);
            packer.stream(&self.given, out);
            self.pack_timestamps(packer, out);
            self.ids.pack(packer, out);
            self.customers.pack(packer, out);
            self.names.pack(packer, out);
            self.metadata.pack(packer, out);
        }
        *self = Self::default();
    }

    fn pack_timestamps(&self, packer: &mut Packer, out: &mut Vec<u8>) {
        let mut last_given = self.arrivals.first().copied().unwrap_or(0);
        let mut steps = Vec::with_capacity(self.timestamps.len());
        for ((timestamp, arrival), given) in
            self.timestamps.iter().zip(&self.arrivals).zip(&self.given)
        {
            if *given == 0 {
                steps.push(timestamp.wrapping_sub(*arrival));
            } else {
                steps.push(timestamp.wrapping_sub(last_given));
                last_given = *timestamp;
            }
        }
        // The first step leads from an arrival, which is in no client's unit: it stands apart.
        let (first, rest) = steps.split_first().expect("there is an event");
        let unit_place = UNITS
            .iter()
            .rposition(|unit| rest.iter().all(|step| step % unit == 0))
            .expect("everything is a multiple of one");
        let unit = UNITS.get(unit_place).copied().expect("a place among them");
        out.push(u8::try_from(unit_place).expect("there are four"));
        put_varint(zigzag(*first), out);
        let rest: Vec<_> = rest.iter().map(|step| zigzag(step / unit)).collect();
        packer.integers(&rest, out);
    }
}

fn span(nanos: &[i64]) -> Option<(Timestamp, Timestamp)> {
    let (first, last) = (nanos.iter().min()?, nanos.iter().max()?);
    Some((Timestamp::from_nanos(*first), Timestamp::from_nanos(*last)))
}

fn pack_times(times: &[i64], packer: &mut Packer, out: &mut Vec<u8>) {
    let first = times.first().copied().unwrap_or(0);
    put_varint(zigzag(first), out);
    let steps: Vec<_> = times
        .iter()
        .zip(times.iter().skip(1))
        .map(|(before, time)| zigzag(time.wrapping_sub(*before)))
        .collect();
    packer.integers(&steps, out);
}

fn unpack_times(
    unpacker: &mut Unpacker,
    input: &mut Input<'_>,
    count: usize,
) -> Result<Vec<i64>, Fault> {
    let mut time = unzigzag(input.varint()?);
    let steps = unpacker.integers(input, count.saturating_sub(1))?;
    let mut times = Vec::with_capacity(count);
    times.push(time);
    for step in steps {
        time = time.wrapping_add(unzigzag(step));
        times.push(time);
    }
    Ok(times)
}

/// A block as it was read.
#[derive(Debug)]
pub(super) struct Block {
    first_lsn: Lsn,
    items: usize,
    /// For each record that is no event, how many events stand before it.
    events_before: Vec<u64>,
    record_times: Vec<i64>,
    record_ends: Vec<u64>,
    payloads: Vec<u8>,
    columns: Option<Columns>,
}

/// What only a block with events has.
#[derive(Debug)]
struct Columns {
    arrivals: Vec<i64>,
    given: Vec<u8>,
    timestamps: Vec<i64>,
    ids: Texts,
    customers: Texts,
    names: Texts,
    metadata: metadata::Columns,
}

impl Block {
    /// Reads the block that begins with `first_lsn`.
    pub(super) fn unpack(
        bytes: &[u8],
        first_lsn: Lsn,
        unpacker: &mut Unpacker,
    ) -> Result<Self, Fault> {
        unpacker.allow(UNPACKED_BYTES_MAX);
        let mut input = Input(bytes);
        let items = input.count(ITEMS_MAX)?;
        let records = input.count(items)?;
        let mut block = Self {
            first_lsn,
            items,
            events_before: Vec::new(),
            record_times: Vec::new(),
            record_ends: Vec::new(),
            payloads: Vec::new(),
            columns: None,
        };
        if records > 0 {
            block.unpack_records(unpacker, &mut input, records)?;
        }
        if items > records {
            block.columns = Some(Columns::unpack(unpacker, &mut input, items - records)?);
        }
        if input.0.is_empty() { Ok(block) } else { Err(Fault("bytes are left over")) }
    }

    fn unpack_records(
        &mut self,
        unpacker: &mut Unpacker,
        input: &mut Input<'_>,
        records: usize,
    ) -> Result<(), Fault> {
        let places = unpacker.integers(input, records)?;
        let ascend = places.iter().zip(places.iter().skip(1)).all(|(a, b)| a < b);
        if !ascend || places.last().is_none_or(|last| *last >= self.items as u64) {
            return Err(Fault("records stand where none can"));
        }
        self.events_before =
            places.iter().zip(0..).map(|(place, before)| place.saturating_sub(before)).collect();
        self.record_times = unpack_times(unpacker, input, records)?;
        let sizes = unpacker.integers(input, records)?;
        self.payloads = unpacker.stream(input)?;
        let mut end = 0_u64;
        for size in sizes {
            end = end.saturating_add(size);
            self.record_ends.push(end);
        }
        if end == self.payloads.len() as u64 { Ok(()) } else { Err(Fault("a record is cut off")) }
    }

    /// How many events it has.
    pub(super) fn events(&self) -> usize {
        self.columns.as_ref().map_or(0, |columns| columns.arrivals.len())
    }

    /// How many items it has.
    pub(super) fn items(&self) -> usize {
        self.items
    }

    /// The LSN of an event.
    fn lsn(&self, event: usize) -> Lsn {
        let event = event as u64;
        let records = self.events_before.partition_point(|before| *before <= event);
        self.first_lsn.plus(event + records as u64)
    }

    /// The events whose LSNs lie in `lsns`.
    pub(super) fn events_within(&self, lsns: &Range<Lsn>) -> Range<usize> {
        let below = |lsn: Lsn| {
            let items = lsn.0.saturating_sub(self.first_lsn.0).min(self.items as u64);
            let before = |(place, _): &(u64, u64)| *place < items;
            let records = self.record_places().take_while(before).count();
            usize::try_from(items).unwrap_or(self.items).saturating_sub(records)
        };
        below(lsns.start)..below(lsns.end)
    }

    /// The places of the records that are no events among the items, with their own numbers.
    fn record_places(&self) -> impl Iterator<Item = (u64, u64)> {
        self.events_before.iter().zip(0..).map(|(events, number)| (events + number, number))
    }

    /// The customer, the name and the timestamp of an event.
    pub(super) fn outline(&self, event: usize) -> Option<(&str, &str, Timestamp)> {
        let columns = self.columns.as_ref()?;
        let timestamp = Timestamp::from_nanos(*columns.timestamps.get(event)?);
        Some((columns.customers.get(event)?, columns.names.get(event)?, timestamp))
    }

    /// The last event of this id.
    pub(super) fn find(&self, id: &str) -> Option<usize> {
        let columns = self.columns.as_ref()?;
        (0..self.events()).rev().find(|event| columns.ids.get(*event) == Some(id))
    }

    /// An event in full.
    pub(super) fn event(&self, event: usize) -> Result<Stored<'_>, Fault> {
        const LOST: Fault = Fault("an event is not there");
        let columns = self.columns.as_ref().ok_or(LOST)?;
        let text = |texts| Texts::get(texts, event).map(Cow::Borrowed).ok_or(LOST);
        Ok(Stored {
            lsn: self.lsn(event),
            received_at: Timestamp::from_nanos(*columns.arrivals.get(event).ok_or(LOST)?),
            event: Event {
                id: text(&columns.ids)?,
                customer_id: text(&columns.customers)?,
                name: text(&columns.names)?,
                timestamp: Timestamp::from_nanos(*columns.timestamps.get(event).ok_or(LOST)?),
                timestamp_given: *columns.given.get(event).ok_or(LOST)? == 1,
                metadata: columns.metadata.get(event)?,
            },
        })
    }

    /// The records that are no events, in LSN order.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let starts = std::iter::once(&0).chain(&self.record_ends);
        let ranges = starts.zip(&self.record_ends);
        self.record_places().zip(&self.record_times).zip(ranges).map(
            |(((place, _), log_time), (start, end))| {
                let range = usize::try_from(*start).ok().zip(usize::try_from(*end).ok());
                Record {
                    lsn: self.first_lsn.plus(place),
                    log_time: Timestamp::from_nanos(*log_time),
                    payload: range
                        .and_then(|(start, end)| self.payloads.get(start..end))
                        .expect("the ends were held against the payloads"),
                }
            },
        )
    }
}

impl Columns {
    fn unpack(
        unpacker: &mut Unpacker,
        input: &mut Input<'_>,
        events: usize,
    ) -> Result<Self, Fault> {
        let arrivals = unpack_times(unpacker, input, events)?;
        let given = unpacker.stream(input)?;
        if given.len() != events {
            return Err(Fault("a column has another number of values"));
        }
        let timestamps = unpack_timestamps(unpacker, input, &arrivals, &given)?;
        let ids = Texts::unpack(unpacker, input, events)?;
        let customers = Texts::unpack(unpacker, input, events)?;
        let names = Texts::unpack(unpacker, input, events)?;
        let metadata = metadata::Columns::unpack(unpacker, input, events)?;
        Ok(Self { arrivals, given, timestamps, ids, customers, names, metadata })
    }
}

fn unpack_timestamps(
    unpacker: &mut Unpacker,
    input: &mut Input<'_>,
    arrivals: &[i64],
    given: &[u8],
) -> Result<Vec<i64>, Fault> {
    let unit = UNITS.get(usize::from(input.byte()?)).copied();
    let unit = unit.ok_or(Fault("timestamps have an unknown unit"))?;
    let first = unzigzag(input.varint()?);
    let rest = unpacker.integers(input, arrivals.len().saturating_sub(1))?;
    let rest = rest.into_iter().map(|step| unzigzag(step).wrapping_mul(unit));
    let mut last_given = arrivals.first().copied().unwrap_or(0);
    let mut timestamps = Vec::with_capacity(arrivals.len());
    for ((step, arrival), given) in std::iter::once(first).chain(rest).zip(arrivals).zip(given) {
        if *given == 0 {
            timestamps.push(arrival.wrapping_add(step));
        } else {
            last_given = last_given.wrapping_add(step);
            timestamps.push(last_given);
        }
    }
    Ok(timestamps)
}

/// The block of these items, whose LSNs follow each other without a gap.
///
/// # Panics
/// When an item is longer than any that is admitted to the log.
pub fn pack_block(events: &[Stored<'_>], records: &[Record<'_>]) -> Vec<u8> {
    let mut builder = Builder::default();
    let mut records = records.iter().peekable();
    for stored in events {
        while let Some(record) = records.next_if(|record| record.lsn < stored.lsn) {
            builder.record(record);
        }
        builder.event(stored);
    }
    records.for_each(|record| builder.record(record));
    let mut bytes = Vec::new();
    builder.pack(&mut Packer::new(), &mut bytes);
    bytes
}

/// Lets `look` see the events and the other records of the block that begins with `first_lsn`, each
/// in LSN order; `None` when `bytes` are not a block.
pub fn unpack_block<T>(
    bytes: &[u8],
    first_lsn: Lsn,
    look: impl FnOnce(&[Stored<'_>], &[Record<'_>]) -> T,
) -> Option<T> {
    let block = Block::unpack(bytes, first_lsn, &mut Unpacker::new()).ok()?;
    let events: Result<Vec<_>, _> = (0..block.events()).map(|event| block.event(event)).collect();
    let records: Vec<_> = block.records().collect();
    Some(look(&events.ok()?, &records))
}
