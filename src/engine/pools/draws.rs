//! What events draw, as they enter their segments.
//!
//! An event may draw for several subscriptions and meters, each on a pool of its customer: by subscription
//! id, then by meter id. The order of events is that in which they enter.

use super::{PoolKey, Pools};
use crate::billing::credits::{Draw, DrawTerms, Ids, low_balance_threshold};
use crate::engine::books::Books;
use crate::engine::catalogue::Catalogue;
use crate::model::credit::{GrantOrder, OverageTerms};
use crate::model::notice::BalanceLow;
use crate::model::{
    Credits, CustomerIndex, EntitlementIndex, Lsn, MeterIndex, SubscriptionIndex, Timestamp,
};
use crate::world::sync::Mutex;

/// How usage of a meter draws, for one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// The entitlement.
    pub entitlement: EntitlementIndex,
    /// How usage becomes credits.
    pub terms: DrawTerms,
    /// What of it may be overage.
    pub overage: OverageTerms,
    /// The balance is low below this.
    pub low_below: Option<Credits>,
}

impl Drawing {
    /// The draw that usage is worth.
    pub fn draw(
        &self,
        subscription: SubscriptionIndex,
        amount: Credits,
        order: GrantOrder,
        now: Timestamp,
    ) -> Draw {
        let (overage, low_below) = (self.overage, self.low_below);
        Draw { subscription, amount, overage, low_below, order, now }
    }
}

/// What usage has come to be worth.
#[derive(Debug)]
struct Wanted {
    /// The place of the subscription among those of its customer, by id.
    rank: usize,
    meter: MeterIndex,
    key: PoolKey,
    draw: Draw,
}

/// Draws of the events of one record.
#[derive(Debug)]
pub struct Draws<'s> {
    pools: &'s Mutex<Pools>,
    books: &'s Books,
    catalogue: &'s Catalogue,
    ids: &'s mut Ids,
    /// The record, then the event.
    lsn: Lsn,
    log_time: Timestamp,
    /// When what is drawn next is drawn.
    at: Timestamp,
    wanted: Vec<Wanted>,
}

impl<'s> Draws<'s> {
    /// Draws of a record of `log_time`; what they leave gets ids of `ids` until the first event of
    /// another LSN.
    pub fn new(
        (pools, books, catalogue): (&'s Mutex<Pools>, &'s Books, &'s Catalogue),
        (lsn, log_time): (Lsn, Timestamp),
        ids: &'s mut Ids,
    ) -> Self {
        Self { pools, books, catalogue, ids, lsn, log_time, at: log_time, wanted: Vec::new() }
    }

    /// An event of this LSN enters next: what it leaves gets ids of its own. So it does not matter how
    /// many requests one record holds.
    pub fn next_event(&mut self, lsn: Lsn) {
        if self.lsn != lsn {
            self.draw();
            self.lsn = lsn;
            *self.ids = Ids::of(lsn);
        }
    }

    /// What is drawn from now on is drawn at this instant: log time, or that of an event which was stamped
    /// ahead of it. Never before what was drawn already.
    pub fn happen_at(&mut self, at: Timestamp) {
        self.at = at;
    }

    /// Usage is worth so many credits.
    pub fn want(
        &mut self,
        drawing: &Drawing,
        (rank, subscription): (usize, SubscriptionIndex),
        (customer, meter): (CustomerIndex, MeterIndex),
        amount: Credits,
    ) {
        if amount.is_zero() {
            return;
        }
        let key = PoolKey { entitlement: drawing.entitlement, customer };
        let order = self.catalogue.settings().credit_order;
        let draw = drawing.draw(subscription, amount, order, self.at);
        self.wanted.push(Wanted { rank, meter, key, draw });
    }

    /// Draws what an event has come to be worth.
    pub fn draw(&mut self) {
        if self.wanted.is_empty() {
            return;
        }
        if self.wanted.len() > 1 {
            let meter_id = |meter: MeterIndex| {
                self.catalogue.meters().get(meter.position()).map(|meter| meter.id.clone())
            };
            self.wanted.sort_by_cached_key(|wanted| (wanted.rank, meter_id(wanted.meter)));
        }
        let mut pools = self.pools.lock();
        for Wanted { key, draw, .. } in self.wanted.drain(..) {
            let pool = pools.index_or_make(key, self.log_time);
            let turns_at = |subscription| self.books.turns_at(subscription);
            let ids = &mut *self.ids;
            let moment = (self.lsn, self.log_time);
            let went_low = pools.change(pool, moment, turns_at, |pool| pool.draw(&draw, ids));
            if went_low
                && pools.tells()
                && let Some(low) = balance_low(self.books, &pools, key, &draw)
            {
                pools.tell_low(self.lsn, draw.now, Box::new(low));
            }
        }
    }
}

/// What is told of a balance that a draw has found low.
fn balance_low(books: &Books, pools: &Pools, key: PoolKey, draw: &Draw) -> Option<BalanceLow> {
    let subscription = books.subscription(draw.subscription)?;
    let mut attached = subscription.credits.iter();
    let attached = attached.find(|attached| attached.entitlement == key.entitlement)?;
    Some(BalanceLow {
        subscription: draw.subscription,
        customer: key.customer,
        entitlement: key.entitlement,
        entitlement_name: books.entitlements.get(key.entitlement)?.name.clone(),
        available: pools.by_key(&key)?.pool.balance_at(draw.now),
        amount: attached.amount,
        percent: attached.low_balance_percent?,
        threshold: low_balance_threshold(attached)?,
    })
}
