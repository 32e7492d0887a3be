//! The outbox: webhook endpoints, what each is to be told, and what became of it.
//!
//! All of it is folded from the log. A record makes notices ([`notices`]) for the endpoints that want them
//! then; each is a row, and an endpoint's [`Queue`] says up to which of them it was tried. What did not
//! arrive is a row too, and another one says when it is tried again. Rows are read when somebody asks
//! ([`reads`]); in memory are those alone that no checkpoint has yet ([`overlay`]). What is due is found by
//! [`pump`], and what became of it is the record [`settle::SettledEntry`].

pub mod backlog;
pub mod keys;
pub mod notices;
pub mod overlay;
pub mod pump;
pub mod reads;
pub mod settle;
pub mod sweep;
pub mod waker;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::rows::{Row, encoded};
use crate::model::webhook::EventTypes;
use crate::model::{
    Endpoint, EndpointId, EndpointIndex, EventType, Lsn, MessageId, Notice, Timestamp, Told,
};

use overlay::{Changed, Overlay};

/// How far an endpoint was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Every message for it up to here was tried at least once, or is older than the endpoint.
    pub through: MessageId,
    /// Those beyond that were tried.
    pub ahead: BTreeSet<MessageId>,
}

/// An endpoint, and how far it was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEndpoint {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// How far it was told.
    pub queue: Queue,
}

/// The outbox; see the module.
#[derive(Debug, Default)]
pub struct Outbox {
    endpoints: BTreeMap<EndpointIndex, KeptEndpoint>,
    /// The index that the next endpoint gets.
    next: EndpointIndex,
    /// What any endpoint wants to know.
    wanted: EventTypes,
    rows: Overlay,
    /// The record that made the last notice, and the number of the next that it makes.
    numbers: (Lsn, u32),
    /// Counts what may give somebody something to send.
    changes: u64,
}

/// The small part of the outbox at a cut.
#[derive(Clone, Debug, Default)]
pub struct OutboxCut {
    /// The endpoints, oldest first.
    pub endpoints: Vec<KeptEndpoint>,
    /// The index that the next endpoint gets.
    pub next: EndpointIndex,
}

impl Outbox {
    /// Puts an endpoint in its place, or takes it out when it was deleted. A new one is told of what comes
    /// behind this record.
    pub fn put_endpoint(&mut self, lsn: Lsn, endpoint: Arc<Endpoint>) {
        let index = endpoint.index;
        self.next = self.next.max(EndpointIndex(index.0.saturating_add(1)));
        if endpoint.deleted {
            self.endpoints.remove(&index);
        } else if let Some(kept) = self.endpoints.get_mut(&index) {
            kept.endpoint = endpoint;
        } else {
            let through = MessageId { lsn, number: u32::MAX };
            let queue = Queue { through, ahead: BTreeSet::new() };
            self.endpoints.insert(index, KeptEndpoint { endpoint, queue });
        }
        self.reckon_wanted();
        self.changes += 1;
    }

    /// Loads an endpoint of a snapshot.
    pub fn load_endpoint(&mut self, kept: KeptEndpoint) {
        self.endpoints.insert(kept.endpoint.index, kept);
        self.reckon_wanted();
    }

    /// Loads the index that the next endpoint gets.
    pub fn load_next(&mut self, next: EndpointIndex) {
        self.next = self.next.max(next);
    }

    fn reckon_wanted(&mut self) {
        let wants = self.endpoints.values().map(|kept| kept.endpoint.wants());
        self.wanted = wants.fold(EventTypes::NONE, EventTypes::with);
    }

    /// What any endpoint wants to know.
    pub fn wanted(&self) -> EventTypes {
        self.wanted
    }

    /// The index that the next endpoint gets.
    pub fn next_endpoint(&self) -> EndpointIndex {
        self.next
    }

    /// How many endpoints there are.
    pub fn endpoint_count(&self) -> usize {
        self.endpoints.len()
    }

    /// The endpoints behind one, oldest first; all of them when there is none before.
    pub fn endpoints_behind(
        &self,
        last: Option<EndpointIndex>,
    ) -> impl Iterator<Item = &Arc<Endpoint>> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.endpoints.range((from, Bound::Unbounded)).map(|(_, kept)| &kept.endpoint)
    }

    /// The endpoint with this number.
    pub fn endpoint(&self, index: EndpointIndex) -> Option<&KeptEndpoint> {
        self.endpoints.get(&index)
    }

    /// The endpoint with this id.
    pub fn endpoint_by_id(&self, id: &EndpointId) -> Option<&Arc<Endpoint>> {
        let mut endpoints = self.endpoints.values().map(|kept| &kept.endpoint);
        endpoints.find(|endpoint| endpoint.id == *id)
    }

    /// Tells the endpoints that want to know it that something has happened, by a record of this LSN;
    /// `told` is only asked when there is any.
    pub fn tell(
        &mut self,
        lsn: Lsn,
        (event_type, at): (EventType, Timestamp),
        told: impl FnOnce() -> Told,
    ) {
        let endpoints = self.endpoints.values().map(|kept| &kept.endpoint);
        let wants = endpoints.filter(|endpoint| endpoint.wants().contains(event_type));
        let to: Vec<_> = wants.map(|endpoint| endpoint.index).collect();
        if !to.is_empty() {
            self.keep(lsn, &Notice { event_type, at, to, told: told() });
        }
    }

    /// Makes a message for one endpoint that tells of nothing.
    pub fn test(&mut self, lsn: Lsn, at: Timestamp, (index, id): (EndpointIndex, &EndpointId)) {
        if self.endpoints.contains_key(&index) {
            let (event_type, told) = (EventType::WebhookTest, Told::Test(id.clone()));
            self.keep(lsn, &Notice { event_type, at, to: vec![index], told });
        }
    }

    /// Keeps a message that a record of this LSN has made.
    fn keep(&mut self, lsn: Lsn, notice: &Notice) {
        debug_assert!(lsn >= self.numbers.0, "messages are made in the order of the log");
        let number = if self.numbers.0 == lsn { self.numbers.1 } else { 0 };
        self.numbers = (lsn, number + 1);
        let id = MessageId { lsn, number };
        self.rows.put(keys::message(id), Some(encoded(notice)));
        self.changes += 1;
    }

    /// Counts what may give somebody something to send: whoever saw the same number has missed nothing.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Rows that no checkpoint has yet.
    pub fn rows(&self) -> &Overlay {
        &self.rows
    }

    /// Takes the rows that changed since the last call.
    pub fn take_rows(&mut self) -> Vec<Row> {
        self.rows.cut()
    }

    /// Takes the rows that the last call of [`Outbox::take_rows`] gave, and that are on disk now: to be
    /// dropped by whoever holds no lock.
    pub fn take_cut(&mut self) -> Vec<Changed> {
        self.rows.take_cut()
    }

    /// The rows on disk are those of this instant: what changed on the way here is there already, as it
    /// was when it happened.
    pub fn trust_disk(&mut self) {
        self.rows = Overlay::default();
    }

    /// What a checkpoint keeps of it beside the rows.
    pub fn cut(&self) -> OutboxCut {
        OutboxCut { endpoints: self.endpoints.values().cloned().collect(), next: self.next }
    }
}
