//! Usage on disk: one row a meter, customer and hour that has left memory, and one a day.
//!
//! Keys sort by meter, customer and time. A row of the hours holds the hour's accumulator, complete;
//! a row of the days holds those of its day that are on disk, put together.

use std::ops::Range;

use crate::engine::stripes::Key;
use crate::metering::accumulator::{Accumulator, Kind};
use crate::model::{CustomerIndex, Hour, MeterIndex};
use crate::storage::codec;
use crate::storage::rows::{self, Batch, Table, View};

const HOURS_PER_DAY: i32 = 24;
const KEY_BYTES: usize = 12;

/// Why rows of usage could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The row store failed.
    #[error("access usage rows")]
    Rows(#[from] rows::Error),
    /// A row is not what was written.
    #[error("decode a usage row")]
    Codec(#[from] codec::Error),
    /// A key is not what was written.
    #[error("a usage row has a key of another form")]
    Key,
}

/// The key of a row; `time` counts hours or days from 1970.
#[expect(clippy::big_endian_bytes, reason = "keys of a sorted table must sort as their numbers")]
fn row_key(meter: MeterIndex, customer: CustomerIndex, time: i32) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    let (meter_bytes, rest) = key.split_at_mut(4);
    let (customer_bytes, time_bytes) = rest.split_at_mut(4);
    meter_bytes.copy_from_slice(&meter.0.to_be_bytes());
    customer_bytes.copy_from_slice(&customer.0.to_be_bytes());
    // Flipping the sign bit makes negative numbers sort before the others.
    time_bytes.copy_from_slice(&(time.cast_unsigned() ^ (1 << 31)).to_be_bytes());
    key
}

#[expect(clippy::big_endian_bytes, reason = "keys of a sorted table must sort as their numbers")]
fn customer_of(key: &[u8]) -> Result<CustomerIndex, Error> {
    let bytes = key.get(4..).and_then(|rest| rest.first_chunk::<4>()).ok_or(Error::Key)?;
    Ok(CustomerIndex(u32::from_be_bytes(*bytes)))
}

#[expect(clippy::big_endian_bytes, reason = "keys of a sorted table must sort as their numbers")]
fn time_of(key: &[u8]) -> Result<i32, Error> {
    let bytes = key.last_chunk::<4>().ok_or(Error::Key)?;
    Ok((u32::from_be_bytes(*bytes) ^ (1 << 31)).cast_signed())
}

/// Writes hours that leave memory, and adds them to their days. An hour is written once only: the
/// caller's transaction also moves the line between memory and disk.
///
/// # Errors
/// [`Error`]
pub fn write(
    batch: &Batch,
    hours: &[(Key, Accumulator)],
    kind_of: impl Fn(MeterIndex) -> Option<Kind>,
) -> Result<(), Error> {
    for (key, accumulator) in hours {
        let Some(kind) = kind_of(key.meter) else { continue };
        put(batch, Table::Hours, row_key(key.meter, key.customer, key.hour.0), accumulator)?;
        let day = row_key(key.meter, key.customer, key.hour.0.div_euclid(HOURS_PER_DAY));
        let mut whole = match batch.get(Table::Days, &day)? {
            Some(bytes) => codec::decode(&bytes)?,
            None => Accumulator::default(),
        };
        whole.merge(kind, accumulator);
        put(batch, Table::Days, day, &whole)?;
    }
    Ok(())
}

/// Puts hours that were over before their meter was made, `rows` ascending by customer and hour
/// and holding each customer's day whole, with the rows of those days. They replace what stands
/// there, so that writing them twice does no harm.
///
/// # Errors
/// [`Error`]
pub fn put_closed(batch: &Batch, kind: Kind, rows: &[(Key, Accumulator)]) -> Result<(), Error> {
    let hour_of = |key: &Key| row_key(key.meter, key.customer, key.hour.0);
    put_all(batch, Table::Hours, rows.iter().map(|(key, hour)| (hour_of(key), *hour)))?;
    let day_of = |key: &Key| row_key(key.meter, key.customer, key.hour.0.div_euclid(HOURS_PER_DAY));
    let days = rows.chunk_by(|(left, _), (right, _)| day_of(left) == day_of(right));
    let days = days.filter_map(|hours| {
        let (key, _) = hours.first()?;
        let mut whole = Accumulator::default();
        for (_, hour) in hours {
            whole.merge(kind, hour);
        }
        Some((day_of(key), whole))
    });
    put_all(batch, Table::Days, days)
}

fn put_all(
    batch: &Batch,
    table: Table,
    rows: impl Iterator<Item = ([u8; KEY_BYTES], Accumulator)>,
) -> Result<(), Error> {
    let encoded: Vec<_> = rows
        .map(|(key, accumulator)| {
            let mut value = Vec::new();
            codec::encode(&accumulator, &mut value);
            (key, value)
        })
        .collect();
    let rows = encoded.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice())));
    Ok(batch.write(table, rows)?)
}

fn put(
    batch: &Batch,
    table: Table,
    key: [u8; KEY_BYTES],
    accumulator: &Accumulator,
) -> Result<(), Error> {
    let mut value = Vec::new();
    codec::encode(accumulator, &mut value);
    batch.write(table, std::iter::once((key.as_slice(), Some(value.as_slice()))))?;
    Ok(())
}

/// How finely rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Every hour by itself.
    Hours,
    /// Whole days at once where they are wanted whole.
    Days,
}

/// The accumulators of one meter and customer in `hours`, which are all on disk, oldest first; each
/// with the first hour it stands for.
///
/// # Errors
/// [`Error`]
pub fn read(
    view: &View,
    (meter, customer): (MeterIndex, CustomerIndex),
    hours: Range<Hour>,
    grain: Grain,
) -> Result<Vec<(Hour, Accumulator)>, Error> {
    let mut found = Vec::new();
    for (table, times) in parts(hours, grain) {
        let from = row_key(meter, customer, times.start);
        let to = row_key(meter, customer, times.end);
        let mut failed = None;
        view.range(table, &from, &to, |key, value| match parse(table, key, value) {
            Ok(row) => {
                found.push(row);
                true
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(found)
}

/// The first customer from `from` on of which a meter has any row, also [`EVERYBODY`].
///
/// [`EVERYBODY`]: crate::engine::everybody::EVERYBODY
///
/// # Errors
/// [`Error`]
pub fn next_customer(
    view: &View,
    meter: MeterIndex,
    from: CustomerIndex,
) -> Result<Option<CustomerIndex>, Error> {
    let from = row_key(meter, from, i32::MIN);
    let to = row_key(meter, CustomerIndex(u32::MAX), i32::MAX);
    let mut found = None;
    // Whoever has rows of hours has rows of their days.
    view.range(Table::Days, &from, &to, |key, _| {
        found = Some(customer_of(key));
        false
    })?;
    found.transpose()
}

fn parse(table: Table, key: &[u8], value: &[u8]) -> Result<(Hour, Accumulator), Error> {
    let time = time_of(key)?;
    let hour = match table {
        Table::Days => Hour(time.saturating_mul(HOURS_PER_DAY)),
        Table::Hours | Table::Objects => Hour(time),
    };
    Ok((hour, codec::decode(value)?))
}

/// Cuts a range of hours into hours before the first whole day, whole days, and hours after them.
fn parts(hours: Range<Hour>, grain: Grain) -> Vec<(Table, Range<i32>)> {
    let (from, to) = (hours.start.0, hours.end.0);
    let first_day = from.saturating_add(HOURS_PER_DAY - 1).div_euclid(HOURS_PER_DAY);
    let last_day = to.div_euclid(HOURS_PER_DAY);
    if grain == Grain::Hours || first_day >= last_day {
        return vec![(Table::Hours, from..to)];
    }
    vec![
        (Table::Hours, from..first_day * HOURS_PER_DAY),
        (Table::Days, first_day..last_day),
        (Table::Hours, last_day * HOURS_PER_DAY..to),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_cover_every_hour_once_and_in_order(from in -100..100_i32, count in 0..100_i32, fine: bool) {
            let grain = if fine { Grain::Hours } else { Grain::Days };
            let mut covered = Vec::new();
            for (table, times) in parts(Hour(from)..Hour(from + count), grain) {
                match table {
                    Table::Days => covered.extend(times.start * 24..times.end * 24),
                    Table::Hours | Table::Objects => covered.extend(times),
                }
            }
            prop_assert_eq!(covered, (from..from + count).collect::<Vec<_>>());
        }

        #[test]
        fn keys_sort_as_meter_customer_and_time(left: (u32, u32, i32), right: (u32, u32, i32)) {
            let key = |(m, c, t): (u32, u32, i32)| row_key(MeterIndex(m), CustomerIndex(c), t);
            prop_assert_eq!(key(left).cmp(&key(right)), left.cmp(&right));
            prop_assert_eq!(time_of(&key(left)).unwrap(), left.2);
        }
    }
}
