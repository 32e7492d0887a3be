//! The ids of all customers in order, to find those that begin with a text.
//!
//! Nobody pays for it who does not search: it is made when customers are first looked at, and brought up to
//! date by each search with those that came since. Of a customer it keeps 24 bytes; the text is shared.

use std::mem;

use parking_lot::Mutex;

use crate::engine::Engine;
use crate::model::{CustomerId, CustomerIndex};

/// Ids that are read at once: whoever makes customers waits for no more.
const CHUNK: usize = 16 * 1024;
/// The part of all ids that new ones may be before they are merged with the others.
const NEW_PART: usize = 16;

/// The ids in order.
#[derive(Debug, Default)]
pub(in super::super) struct IdOrder(Mutex<Known>);

/// Two lists in order, so that one new customer does not move a million ids.
#[derive(Debug, Default)]
struct Known {
    old: Vec<CustomerId>,
    new: Vec<CustomerId>,
}

impl IdOrder {
    /// Takes in the customers that came since the last time. Of a million it takes a second or two: call it
    /// off the reactor.
    pub(in super::super) fn catch_up(&self, engine: &Engine) {
        self.0.lock().catch_up(|from| engine.customer_ids(from, CHUNK));
    }

    /// The first ids that begin with `prefix` and come behind `after`, in their order.
    pub(in super::super) fn find(
        &self,
        engine: &Engine,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<CustomerId> {
        let known = &mut *self.0.lock();
        known.catch_up(|from| engine.customer_ids(from, CHUNK));
        known.find(prefix, after, limit)
    }
}

impl Known {
    /// Takes in what `read` gives from an index on, until that is nothing.
    fn catch_up(&mut self, read: impl Fn(CustomerIndex) -> Vec<CustomerId>) {
        let before = self.new.len();
        loop {
            let count = self.old.len() + self.new.len();
            // Fits: there are fewer than 2^32 customers.
            let from = CustomerIndex(u32::try_from(count).unwrap_or(u32::MAX));
            let found = read(from);
            if found.is_empty() {
                break;
            }
            self.new.extend(found);
        }
        if self.new.len() > before {
            // The stable sort finds what is in order already, and merges.
            self.new.sort();
        }
        if self.new.len() * NEW_PART > self.old.len() {
            self.old.append(&mut mem::take(&mut self.new));
            self.old.sort();
        }
    }

    fn find(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<CustomerId> {
        let mut found: Vec<CustomerId> = [&self.old, &self.new]
            .into_iter()
            .flat_map(|list| {
                let begins = |id: &CustomerId| {
                    id.as_str() < prefix || after.is_some_and(|after| id.as_str() <= after)
                };
                let start = list.partition_point(begins);
                let behind = list.get(start..).unwrap_or_default().iter();
                behind.take_while(|id| id.as_str().starts_with(prefix)).take(limit).cloned()
            })
            .collect();
        found.sort();
        found.truncate(limit);
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(texts: &[String]) -> Vec<CustomerId> {
        texts.iter().map(|text| CustomerId::new(text.as_str())).collect()
    }

    proptest! {
        #[test]
        fn a_search_finds_what_a_look_at_all_finds(
            arrivals in prop::collection::vec(prop::collection::btree_set("[ab]{1,4}", 0..20), 1..6),
            prefix in "[ab]{0,2}",
            after in prop::option::of("[ab]{0,4}"),
            limit in 0..8_usize,
        ) {
            let mut known = Known::default();
            let mut all: Vec<String> = Vec::new();
            for arrival in arrivals {
                for id in arrival {
                    // Ids are unique.
                    if !all.contains(&id) {
                        all.push(id);
                    }
                }
                let list = ids(&all);
                known.catch_up(|from| {
                    list[from.position()..].iter().take(3).cloned().collect()
                });
                let mut expected: Vec<&String> = all
                    .iter()
                    .filter(|id| id.starts_with(&prefix))
                    .filter(|id| after.as_ref().is_none_or(|after| *id > after))
                    .collect();
                expected.sort();
                expected.truncate(limit);
                let expected: Vec<String> = expected.into_iter().cloned().collect();
                prop_assert_eq!(known.find(&prefix, after.as_deref(), limit), ids(&expected));
            }
        }
    }
}
