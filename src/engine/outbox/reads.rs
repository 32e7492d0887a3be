//! Rows of the outbox as they are now: those on disk, with what has changed since over them.
//!
//! Memory is copied first, then the disk is read: what a checkpoint moves there meanwhile is found once.

use std::sync::Arc;

use super::overlay::{Order, Scanned};
use super::settle::{Attempt, Undelivered};
use super::{KeptEndpoint, Outbox, keys};
use crate::engine::Engine;
use crate::engine::bills::BillsError;
use crate::engine::rows::Key;
use crate::engine::shared::Shared;
use crate::model::{Endpoint, EndpointId, EndpointIndex, Lsn, MessageId, Notice, Timestamp};
use crate::storage::codec;
use crate::storage::rows::Table;

/// Changed rows that are copied while nothing is applied.
const COPIED_AT_ONCE: usize = 1_024;

/// An attempt as it stands in the log of attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The record that tells of it, and its number there.
    pub place: (Lsn, u32),
    /// The attempt.
    pub attempt: Attempt,
}

/// Shows the rows with `from <= key < below` until `visit` says `false`.
pub(in crate::engine) fn visit(
    shared: &Shared,
    (mut from, mut below): (Key, Key),
    order: Order,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<bool, codec::Error>,
) -> Result<(), BillsError> {
    loop {
        let scan = (from.as_slice(), below.as_slice());
        let scanned =
            shared.state.with_outbox(|outbox| outbox.rows().scan(scan, order, COPIED_AT_ONCE));
        let (low, high) = match (&scanned.through, order) {
            (None, _) => (from.clone(), below.clone()),
            (Some(last), Order::Forward) => (from.clone(), keys::behind(last)),
            (Some(last), Order::Backward) => (last.to_vec(), below.clone()),
        };
        let is_last = scanned.through.is_none();
        let goes_on = merge(shared, scanned, (&low, &high), order, &mut visit)?;
        if is_last || !goes_on {
            return Ok(());
        }
        match order {
            Order::Forward => from = high,
            Order::Backward => below = low,
        }
    }
}

/// Shows the rows on disk with the changed ones in their places; whether `visit` wants more.
fn merge(
    shared: &Shared,
    scanned: Scanned,
    (low, high): (&[u8], &[u8]),
    order: Order,
    visit: &mut impl FnMut(&[u8], &[u8]) -> Result<bool, codec::Error>,
) -> Result<bool, BillsError> {
    let mut changed: Vec<_> = scanned.rows.into_iter().collect();
    if order == Order::Backward {
        changed.reverse();
    }
    let mut changed = changed.into_iter().peekable();
    let stands_before = |one: &[u8], other: &[u8]| match order {
        Order::Forward => one < other,
        Order::Backward => one > other,
    };
    let (mut goes_on, mut failed) = (true, None);
    let mut show = |key: &[u8], value: &[u8]| match visit(key, value) {
        Ok(more) => more,
        Err(error) => {
            failed = Some(error);
            false
        }
    };
    let mut on_disk = |key: &[u8], value: &[u8]| {
        while let Some((before, row)) = changed.next_if(|(changed, _)| stands_before(changed, key))
        {
            goes_on = row.is_none_or(|row| show(&before, &row));
            if !goes_on {
                return false;
            }
        }
        goes_on = match changed.next_if(|(changed, _)| **changed == *key) {
            Some((_, row)) => row.is_none_or(|row| show(key, &row)),
            None => show(key, value),
        };
        goes_on
    };
    let view = shared.rows.read()?;
    match order {
        Order::Forward => view.range(Table::Objects, low, high, &mut on_disk)?,
        Order::Backward => view.range_back(Table::Objects, low, high, &mut on_disk)?,
    }
    while goes_on && let Some((key, row)) = changed.next() {
        goes_on = row.is_none_or(|row| show(&key, &row));
    }
    failed.map_or(Ok(goes_on), |error| Err(error.into()))
}

/// The row under `key`.
fn get<T: serde::de::DeserializeOwned>(
    shared: &Shared,
    key: &[u8],
) -> Result<Option<T>, BillsError> {
    let row = match shared.state.with_outbox(|outbox| outbox.rows().get(key)) {
        Some(changed) => changed.map(|row| row.to_vec()),
        None => shared.rows.read()?.get(Table::Objects, key)?,
    };
    Ok(row.map(|row| codec::decode(&row)).transpose()?)
}

impl Engine {
    /// Webhook endpoints behind one, oldest first; from the first when there is none before.
    pub fn webhook_endpoints(
        &self,
        last: Option<EndpointIndex>,
        limit: usize,
    ) -> Vec<Arc<Endpoint>> {
        self.shared
            .state
            .with_outbox(|outbox| outbox.endpoints_behind(last).take(limit).cloned().collect())
    }

    /// One webhook endpoint.
    pub fn webhook_endpoint(&self, id: &EndpointId) -> Option<Arc<Endpoint>> {
        self.shared.state.with_outbox(|outbox| outbox.endpoint_by_id(id).cloned())
    }

    /// The webhook endpoint of this number, and how far it was told.
    pub fn kept_endpoint(&self, index: EndpointIndex) -> Option<KeptEndpoint> {
        self.shared.state.with_outbox(|outbox| outbox.endpoint(index).cloned())
    }

    /// Counts what may give somebody something to send: whoever saw the same number has missed nothing.
    pub fn outbox_changes(&self) -> u64 {
        self.shared.state.with_outbox(Outbox::changes)
    }

    /// What a message tells; nothing when there is no such message, or none any more. Reads the disk: call
    /// it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn notice(&self, id: MessageId) -> Result<Option<Notice>, BillsError> {
        get(&self.shared, &keys::message(id))
    }

    /// What is known of a message that an endpoint did not get. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn undelivered(
        &self,
        endpoint: EndpointIndex,
        id: MessageId,
    ) -> Result<Option<Undelivered>, BillsError> {
        get(&self.shared, &keys::undelivered(endpoint, id))
    }

    /// Attempts to deliver to an endpoint, newest first, below one; each with its place. Reads the disk:
    /// call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn webhook_attempts(
        &self,
        endpoint: EndpointIndex,
        below: Option<(Lsn, u32)>,
        limit: usize,
        wanted: impl Fn(&Attempt) -> bool,
    ) -> Result<Vec<Logged>, BillsError> {
        let end = keys::attempt(EndpointIndex(endpoint.0.saturating_add(1)), Lsn::ZERO, 0);
        let below = below.map_or(end, |(lsn, number)| keys::attempt(endpoint, lsn, number));
        let range = (keys::attempt(endpoint, Lsn::ZERO, 0), below);
        let mut found = Vec::new();
        visit(&self.shared, range, Order::Backward, |key, value| {
            let attempt: Attempt = codec::decode(value)?;
            if let Some(place) = keys::attempt_of(key)
                && wanted(&attempt)
            {
                found.push(Logged { place, attempt });
            }
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// Messages that an endpoint did not get and that tell of something at `since` or later, newest first,
    /// below one. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn undelivered_since(
        &self,
        endpoint: EndpointIndex,
        since: Timestamp,
        below: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<MessageId>, BillsError> {
        let end = keys::undelivered(EndpointIndex(endpoint.0.saturating_add(1)), MessageId::FIRST);
        let below = below.map_or(end, |id| keys::undelivered(endpoint, id));
        let range = (keys::undelivered(endpoint, MessageId::FIRST), below);
        let mut ids = Vec::new();
        visit(&self.shared, range, Order::Backward, |key, _| {
            ids.extend(keys::undelivered_of(key));
            Ok(ids.len() < limit)
        })?;
        let mut found = Vec::new();
        for id in ids {
            // Those that are forgotten cannot be sent.
            match self.notice(id)? {
                Some(notice) if notice.at < since => break,
                Some(_) => found.push(id),
                None => {}
            }
        }
        Ok(found)
    }
}
