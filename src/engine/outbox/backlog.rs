//! What waits for each endpoint, for whoever watches the daemon.
//!
//! It is counted when somebody asks, from the rows: nothing is kept for it. Of a backlog that is longer than
//! what is looked at the first part is counted.

use serde::Deserialize;

use super::overlay::Order;
use super::{KeptEndpoint, Outbox, keys, reads};
use crate::engine::Engine;
use crate::engine::bills::BillsError;
use crate::model::{EndpointId, EndpointIndex, EventType, MessageId, Timestamp};
use crate::storage::codec;

/// Rows that one call looks at, of messages and of times to try again each: some 100 ms. Endpoints share them.
const LOOKED_AT_MAX: usize = 100_000;

/// What waits for one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Messages that were never tried.
    pub untried: u64,
    /// Messages that are to be tried again.
    pub to_retry: u64,
    /// When the oldest of them has happened.
    pub oldest: Option<Timestamp>,
}

/// How a notice begins.
#[derive(Deserialize)]
struct Front {
    _event_type: EventType,
    at: Timestamp,
    to: Vec<EndpointIndex>,
}

impl Engine {
    /// What waits for each endpoint, the oldest endpoint first. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn webhook_backlogs(&self) -> Result<Vec<Backlog>, BillsError> {
        self.backlogs_within(LOOKED_AT_MAX)
    }

    pub(in crate::engine) fn backlogs_within(
        &self,
        rows_max: usize,
    ) -> Result<Vec<Backlog>, BillsError> {
        let kept = self.shared.state.with_outbox(Outbox::cut).endpoints;
        // One that is far behind must not hide what waits for the others.
        let rows_max = (rows_max / kept.len().max(1)).max(1);
        kept.iter().map(|kept| self.backlog(kept, rows_max)).collect()
    }

    fn backlog(&self, kept: &KeptEndpoint, rows_max: usize) -> Result<Backlog, BillsError> {
        let KeptEndpoint { endpoint, queue } = kept;
        let mut backlog =
            Backlog { endpoint: endpoint.id.clone(), untried: 0, to_retry: 0, oldest: None };
        let from = keys::behind(&keys::message(queue.through));
        let below = keys::behind(&keys::message(MessageId::LAST));
        let mut left = rows_max;
        reads::visit(&self.shared, (from, below), Order::Forward, |key, value| {
            let Some(rest) = left.checked_sub(1) else { return Ok(false) };
            left = rest;
            let (front, _) = codec::decode_front::<Front>(value)?;
            let is_tried = keys::message_of(key).is_none_or(|id| queue.ahead.contains(&id));
            if !is_tried && front.to.contains(&endpoint.index) {
                backlog.untried += 1;
                backlog.note(front.at);
            }
            Ok(true)
        })?;
        let end = EndpointIndex(endpoint.index.0.saturating_add(1));
        let from = keys::retry(endpoint.index, Timestamp::MIN, MessageId::FIRST);
        let below = keys::retry(end, Timestamp::MIN, MessageId::FIRST);
        let (mut left, mut oldest) = (rows_max, None);
        reads::visit(&self.shared, (from, below), Order::Forward, |key, _| {
            let Some(rest) = left.checked_sub(1) else { return Ok(false) };
            left = rest;
            if let Some((_, id)) = keys::retry_of(key) {
                backlog.to_retry += 1;
                oldest = Some(oldest.map_or(id, |known: MessageId| known.min(id)));
            }
            Ok(true)
        })?;
        // Ids are in the order in which things have happened.
        if let Some(notice) = oldest.map(|id| self.notice(id)).transpose()?.flatten() {
            backlog.note(notice.at);
        }
        Ok(backlog)
    }
}

impl Backlog {
    fn note(&mut self, at: Timestamp) {
        self.oldest = Some(self.oldest.map_or(at, |known| known.min(at)));
    }
}
