//! What customers have used by rows, and the ones that used most.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::engine::leaders::LEADERS_MAX;
use crate::model::{CustomerIndex, Quantity};

/// Customers of a chunk.
const CHUNK: usize = 256;

/// Quantities for some of the customers: 32 bytes for each of a chunk in which any has one, and two bits.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    chunks: Vec<Option<Box<[Pair; CHUNK]>>>,
    in_month: Seen,
    on_day: Seen,
}

/// Of the month and of the day, zero where there is none.
type Pair = (Quantity, Quantity);

/// Of the month, and of the day.
pub(super) type Entry = (Option<Quantity>, Option<Quantity>);

impl Sheet {
    pub(super) fn put(&mut self, customer: CustomerIndex, (month, day): Entry) {
        let place = customer.position();
        if self.chunks.len() <= place / CHUNK {
            self.chunks.resize_with(place / CHUNK + 1, || None);
        }
        let Some(chunk) = self.chunks.get_mut(place / CHUNK) else { return };
        let chunk = chunk.get_or_insert_with(|| Box::new([Pair::default(); CHUNK]));
        if let Some(kept) = chunk.get_mut(place % CHUNK) {
            *kept = (month.unwrap_or_default(), day.unwrap_or_default());
        }
        for (seen, value) in [(&mut self.in_month, month), (&mut self.on_day, day)] {
            if value.is_some() {
                seen.insert(customer);
            }
        }
    }

    pub(super) fn get(&self, customer: CustomerIndex) -> Entry {
        let place = customer.position();
        let chunk = self.chunks.get(place / CHUNK).and_then(Option::as_ref);
        let kept = chunk.and_then(|chunk| chunk.get(place % CHUNK).copied()).unwrap_or_default();
        self.entry(customer, kept)
    }

    fn entry(&self, customer: CustomerIndex, (month, day): Pair) -> Entry {
        (self.in_month.has(customer).then_some(month), self.on_day.has(customer).then_some(day))
    }

    /// Everybody of a chunk with any, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (CustomerIndex, Entry)> {
        let chunks = self.chunks.iter().enumerate();
        chunks.filter_map(|(at, chunk)| Some((at, chunk.as_ref()?))).flat_map(move |(at, chunk)| {
            chunk.iter().enumerate().filter_map(move |(place, kept)| {
                // Fits: it was made of an index.
                let customer = CustomerIndex(u32::try_from(at * CHUNK + place).ok()?);
                let entry = self.entry(customer, *kept);
                (entry != Entry::default()).then_some((customer, entry))
            })
        })
    }
}

/// A set of customers: a bit each.
#[derive(Debug, Default)]
pub(super) struct Seen(Vec<u64>);

impl Seen {
    pub(super) fn insert(&mut self, customer: CustomerIndex) {
        let place = customer.position();
        if self.0.len() <= place / 64 {
            self.0.resize(place / 64 + 1, 0);
        }
        if let Some(word) = self.0.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    pub(super) fn has(&self, customer: CustomerIndex) -> bool {
        let place = customer.position();
        self.0.get(place / 64).is_some_and(|word| word & (1 << (place % 64)) != 0)
    }
}

/// The customers that used most so far, and how many there were.
#[derive(Debug, Default)]
pub(super) struct Top {
    /// The one that used least on top; of those that used as much the one that was made last.
    heap: BinaryHeap<Reverse<(Quantity, Reverse<CustomerIndex>)>>,
    pub(super) count: u64,
}

impl Top {
    pub(super) fn offer(&mut self, customer: CustomerIndex, value: Option<Quantity>) {
        let Some(value) = value else { return };
        self.count += 1;
        let offered = (value, Reverse(customer));
        if self.heap.len() < LEADERS_MAX {
            self.heap.push(Reverse(offered));
        } else if let Some(mut least) = self.heap.peek_mut()
            && least.0 < offered
        {
            *least = Reverse(offered);
        }
    }

    /// Largest first, those that used as much in the order of their creation.
    pub(super) fn finish(self) -> Vec<(CustomerIndex, Quantity)> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        sorted.map(|Reverse((value, Reverse(customer)))| (customer, value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sheet_is_a_map_and_the_top_is_the_front_of_a_sorted_list(
            entries in prop::collection::btree_map(0..2_000_u32, -40..40_i128, 0..400),
        ) {
            let mut sheet = Sheet::default();
            let mut seen = Seen::default();
            let mut top = Top::default();
            let quantity = |units: i128| Some(Quantity::from_units(units));
            for (customer, units) in entries.iter().rev() {
                sheet.put(CustomerIndex(*customer), (quantity(*units), None));
                seen.insert(CustomerIndex(*customer));
                top.offer(CustomerIndex(*customer), quantity(*units));
            }
            for customer in (0..2_100).map(CustomerIndex) {
                let expected = entries.get(&customer.0).copied().and_then(quantity);
                prop_assert_eq!(sheet.get(customer), (expected, None));
                prop_assert_eq!(seen.has(customer), expected.is_some());
            }
            let all: BTreeMap<u32, i128> = sheet.all()
                .map(|(customer, (value, _))| (customer.0, value.unwrap().as_units()))
                .collect();
            prop_assert_eq!(&all, &entries);
            prop_assert_eq!(top.count, entries.len() as u64);
            let mut sorted: Vec<_> = entries.into_iter()
                .map(|(customer, units)| (CustomerIndex(customer), Quantity::from_units(units)))
                .collect();
            sorted.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(&right.0)));
            sorted.truncate(LEADERS_MAX);
            prop_assert_eq!(top.finish(), sorted);
        }
    }
}
