//! A pool as it is at an instant: with what the events draw whose time has come since the last record.

use std::collections::HashMap;
use std::sync::Arc;

use super::draws::Drawing;
use super::{KeptPool, PoolKey};
use crate::billing::credits::{Ids, Mark};
use crate::engine::books::Books;
use crate::engine::books::routes::SegmentKey;
use crate::engine::books::segments::{PendingKey, PendingSample, SegmentAccumulator, usage};
use crate::engine::catalogue::Catalogue;
use crate::engine::state::State;
use crate::metering::accumulator::Sample;
use crate::model::{Credits, Grant, Lsn, MeterId, SubscriptionIndex, Timestamp};

/// What a customer's usage comes to at an instant.
#[derive(Debug, Default)]
pub struct View {
    /// The pools that were asked for, in that order; nothing for those that are not there.
    pub pools: Vec<Option<Arc<KeptPool>>>,
    /// Grants of those pools that have ended by what events draw since the last record.
    pub ended: Vec<(PoolKey, Grant)>,
    /// The marks that have moved since the last record.
    marks: HashMap<SegmentKey, Mark>,
}

impl View {
    /// How far usage has come in a period.
    pub fn mark(&self, state: &State, key: &SegmentKey) -> Mark {
        let moved = self.marks.get(key).copied();
        moved.or_else(|| state.segments().marks().get(key)).unwrap_or_default()
    }
}

/// Pools of one customer at `at`. Nothing is changed.
pub fn as_of(state: &State, keys: &[PoolKey], at: Timestamp) -> View {
    let Some(first) = keys.first() else { return View::default() };
    state.with_entering(first.customer, at, |entering, books, catalogue| {
        let pools = state
            .with_pools(|pools| keys.iter().map(|key| pools.by_key(key).map(Arc::clone)).collect());
        let mut view = View { pools, ..View::default() };
        if !entering.is_empty() {
            let mut ahead = Ahead { state, books, catalogue, counted: HashMap::new() };
            for event in entering.chunk_by(|(left, _), (right, _)| left.lsn == right.lsn) {
                ahead.enter(event, keys, &mut view);
            }
        }
        view
    })
}

/// Lets events enter a copy of what they change.
struct Ahead<'s> {
    state: &'s State,
    books: &'s Books,
    catalogue: &'s Catalogue,
    counted: HashMap<SegmentKey, SegmentAccumulator>,
}

/// What is drawn first of one event: the place of the subscription, then the meter.
type Rank = (usize, Option<MeterId>);

impl Ahead<'_> {
    /// Lets one event enter, with all its samples.
    fn enter(&mut self, event: &[(PendingKey, PendingSample)], keys: &[PoolKey], view: &mut View) {
        let Some(at) = event.first().map(|(pending, _)| pending.at) else { return };
        let mut wanted: Vec<(Rank, SubscriptionIndex, Drawing, Credits)> = Vec::new();
        for (pending, found) in event {
            let sample = Sample { value: found.value, at: pending.at, lsn: pending.lsn };
            let meter = self.catalogue.meters().get(pending.meter.position());
            let meter_id = meter.map(|meter| meter.id.clone());
            let (state, counted) = (self.state, &mut self.counted);
            self.books.routes.each(pending.customer, pending.meter, pending.at, |entry| {
                let counted = counted.entry(entry.key).or_insert_with(|| {
                    state.segments().counted().get(&entry.key).unwrap_or_default()
                });
                counted.add(found.kind, sample);
                let used = usage(found.kind, found.value, counted.value(found.kind));
                let Some(credit) = entry.credit else { return };
                let mut mark = view.mark(state, &entry.mark_key());
                if let Some((drawing, credits)) = credit.take_on(&mut mark, used, entry.is_ahead) {
                    let rank = (entry.rank, meter_id.clone());
                    wanted.push((rank, entry.key.subscription, drawing.clone(), credits));
                }
                view.marks.insert(entry.mark_key(), mark);
            });
        }
        wanted.sort_by(|(left, ..), (right, ..)| left.cmp(right));
        for (_, subscription, drawing, amount) in wanted {
            let mut pools = keys.iter().zip(&mut view.pools);
            let pool = pools.find(|(key, _)| key.entitlement == drawing.entitlement);
            // A pool that is not there yet has nothing to give.
            let Some((key, Some(kept))) = pool else { continue };
            let order = self.catalogue.settings().credit_order;
            let draw = drawing.draw(subscription, amount, order, at);
            let left = Arc::make_mut(kept).pool.draw(&draw, &mut Ids::of(Lsn::ZERO));
            view.ended.extend(left.ended.into_iter().map(|grant| (*key, grant)));
        }
    }
}
