//! Rows that no checkpoint has yet, over those on disk.
//!
//! What changes after a cut goes into a layer of its own. So neither the cut nor its commit touches an
//! entry: nobody waits for them, however many there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::rows::{Bytes, Key, Row};

/// The changed rows; without a value those that are removed.
pub type Changed = BTreeMap<Bytes, Option<Bytes>>;

/// Rows over those on disk; see the module.
#[derive(Debug, Default)]
pub struct Overlay {
    newest: Changed,
    /// What cuts have taken and no commit has forgotten, oldest first.
    cut: Vec<Changed>,
    /// What the next cut takes, in order.
    unwritten: Vec<Row>,
    /// Bytes in `unwritten`.
    bytes: usize,
}

/// Which way rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The lowest key first.
    Forward,
    /// The highest key first.
    Backward,
}

/// Some of the changed rows.
#[derive(Debug)]
pub struct Scanned {
    /// The rows.
    pub rows: Changed,
    /// The last key, in the order of reading, up to which they are all that changed; the end of what was
    /// asked for when there is none.
    pub through: Option<Bytes>,
}

impl Overlay {
    /// Puts a row, or removes it.
    pub fn put(&mut self, key: Key, value: Option<Vec<u8>>) {
        self.bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        let (key, value): (Bytes, Option<Bytes>) = (key.into(), value.map(Into::into));
        self.unwritten.push(Row::Shared(Arc::clone(&key), value.clone()));
        self.newest.insert(key, value);
    }

    /// Bytes that wait for a checkpoint.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins a cut: what has changed since the last.
    pub fn cut(&mut self) -> Vec<Row> {
        self.cut.push(std::mem::take(&mut self.newest));
        self.bytes = 0;
        std::mem::take(&mut self.unwritten)
    }

    /// What was cut is on disk: to be dropped by whoever holds no lock.
    pub fn take_cut(&mut self) -> Vec<Changed> {
        std::mem::take(&mut self.cut)
    }

    /// What changed in the row under `key`.
    pub fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        let mut layers = std::iter::once(&self.newest).chain(self.cut.iter().rev());
        layers.find_map(|layer| layer.get(key)).cloned()
    }

    /// The changed rows with `from <= key < below`, about `rows_max` at most, from one end.
    pub fn scan(&self, (from, below): (&[u8], &[u8]), order: Order, rows_max: usize) -> Scanned {
        let mut rows = Changed::new();
        let mut through: Option<Bytes> = None;
        if from >= below {
            return Scanned { rows, through };
        }
        // Newer ones replace older ones.
        for layer in self.cut.iter().chain([&self.newest]) {
            let mut taken = 0;
            let mut take = |(key, value): (&Bytes, &Option<Bytes>)| {
                rows.insert(Arc::clone(key), value.clone());
                taken += 1;
                (taken >= rows_max).then(|| Arc::clone(key))
            };
            let range = (std::ops::Bound::Included(from), std::ops::Bound::Excluded(below));
            let mut range = layer.range::<[u8], _>(range);
            match order {
                Order::Forward => {
                    let last = range.find_map(&mut take);
                    through = through.into_iter().chain(last).min();
                }
                Order::Backward => {
                    let last = range.rev().find_map(&mut take);
                    through = through.into_iter().chain(last).max();
                }
            }
        }
        if let Some(last) = &through {
            rows.retain(|key, _| match order {
                Order::Forward => key <= last,
                Order::Backward => key >= last,
            });
        }
        Scanned { rows, through }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A key that is put, or a cut.
    fn steps() -> impl Strategy<Value = Vec<Option<(u8, Option<u8>)>>> {
        let put = (0..20_u8, prop::option::of(any::<u8>())).prop_map(Some);
        prop::collection::vec(prop_oneof![9 => put, 1 => Just(None)], 0..60)
    }

    proptest! {
        #[test]
        fn what_is_scanned_is_what_was_put_last(
            steps in steps(), from in 0..20_u8, below in 0..22_u8, rows_max in 1..9_usize,
        ) {
            let mut overlay = Overlay::default();
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Some((key, value)) => {
                        overlay.put(vec![key], value.map(|value| vec![value]));
                        model.insert(key, value);
                    }
                    None => drop(overlay.cut()),
                }
            }
            for (key, value) in &model {
                let found = overlay.get(&[*key]).unwrap();
                prop_assert_eq!(found.map(|found| found[0]), *value);
            }
            let expected: Vec<_> =
                model.into_iter().filter(|(key, _)| (from..below).contains(key)).collect();
            for order in [Order::Forward, Order::Backward] {
                let (mut low, mut high) = (vec![from], vec![below]);
                let mut found = BTreeMap::new();
                loop {
                    let Scanned { rows, through } = overlay.scan((&low, &high), order, rows_max);
                    for (key, value) in rows {
                        let value = value.map(|value| value[0]);
                        prop_assert_eq!(found.insert(key[0], value), None);
                    }
                    match (through, order) {
                        (None, _) => break,
                        (Some(last), Order::Forward) => low = [&*last, &[0]].concat(),
                        (Some(last), Order::Backward) => high = last.to_vec(),
                    }
                }
                prop_assert_eq!(found.into_iter().collect::<Vec<_>>(), expected.clone());
            }
        }

        #[test]
        fn cuts_take_each_change_once_and_in_order(steps in steps()) {
            let mut overlay = Overlay::default();
            let (mut put, mut taken) = (Vec::new(), Vec::new());
            for step in steps.into_iter().chain([None]) {
                if let Some((key, value)) = step {
                    let (key, value) = (vec![key], value.map(|value| vec![value]));
                    overlay.put(key.clone(), value.clone());
                    put.push((key, value));
                    continue;
                }
                taken.extend(overlay.cut().iter().map(Row::encoded));
                prop_assert_eq!(overlay.bytes(), 0);
                drop(overlay.take_cut());
                prop_assert_eq!(overlay.get(&[0]), None);
            }
            prop_assert_eq!(taken, put);
        }
    }
}
