//! What usage that is about to come would draw, and whether that is there: what a check says, and what a
//! reservation holds.

use std::sync::Arc;
use std::time::Duration;

use crate::billing::credits::{Hold, Pool, Usage};
use crate::engine::books::Books;
use crate::engine::books::routes::{CreditUse, SegmentKey};
use crate::engine::command::Refused;
use crate::engine::command::reservations::Ask;
use crate::engine::pools::draws::Drawing;
use crate::engine::pools::{PoolKey, view};
use crate::engine::reservations::Reservations;
use crate::engine::shared::Shared;
use crate::metering::accumulator::Kind;
use crate::model::{Credits, CustomerIndex, MeterIndex, Subscription, SubscriptionId, Timestamp};

/// Events that are stamped with the very instant of a decision come before it.
const INSTANT: Duration = Duration::from_nanos(1);

/// What there is for usage that is about to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The pool that it draws on.
    pub pool: PoolKey,
    /// The meter.
    pub meter: MeterIndex,
    /// The subscription.
    pub subscription: Arc<Subscription>,
    /// What it would draw, behind what open reservations announce.
    pub credits: Credits,
    /// How that would be covered; nothing when it is not.
    pub cover: Option<Hold>,
    /// What can be spent, what is held included.
    pub balance: Credits,
    /// What of that nobody holds.
    pub available: Credits,
    /// The overage of all of the customer's subscriptions.
    pub overage: Credits,
    /// How much overage this one may still make, reservations aside; without end when there is none.
    pub headroom: Option<Credits>,
}

/// A subscription that pays for a meter in credits.
struct Linked {
    subscription: Arc<Subscription>,
    mark: SegmentKey,
    drawing: Drawing,
}

/// What there is for usage at `at`. Nothing is changed.
///
/// # Errors
/// When something that is named does not exist, or it is not clear which subscription pays.
pub fn ask(shared: &Shared, ask: &Ask, at: Timestamp) -> Result<Asked, Refused> {
    let state = &shared.state;
    let customer = state.with_accounts(|accounts| accounts.index(ask.customer_id.as_str()));
    let customer = customer.ok_or(Refused::NotFound("customer"))?;
    let catalogue = state.catalogue();
    let meter = catalogue.meter(&ask.meter_id).ok_or(Refused::NotFound("meter"))?;
    if meter.archived {
        return Err(invalid("meter_id", "this meter is archived and counts nothing"));
    }
    let (meter, kind) = (meter.index, catalogue.kind(meter.index).unwrap_or(Kind::Count));
    let named = ask.subscription_id.as_ref();
    let linked = state.with_books(|books| find(books, (customer, meter), at, named))?;
    let Linked { subscription, mark: key, drawing } = linked;
    let pool = PoolKey { entitlement: drawing.entitlement, customer };
    let seen_from = at.plus(INSTANT);
    let view = view::as_of(state, &[pool], seen_from);
    let mut mark = view.mark(state, &key);
    let usage = match kind {
        Kind::Count | Kind::Sum => {
            let announced = |all: &Reservations| all.announced(subscription.index, meter);
            // What is free, or waits, is given to one of them alone.
            mark.enter(Usage::By(state.with_reservations(announced)), &drawing.terms);
            Usage::By(ask.amount)
        }
        // The same value may be announced twice and come once: each is held for by itself.
        Kind::Max | Kind::Last => Usage::To(ask.amount),
    };
    let credits = mark.would_draw(usage, &drawing.terms);
    let kept = view.pools.into_iter().flatten().next();
    let empty = Pool::new(pool.entitlement, customer);
    let found = kept.as_ref().map_or(&empty, |kept| &kept.pool);
    Ok(Asked {
        pool,
        meter,
        credits,
        cover: found.can_cover(credits, subscription.index, &drawing.overage, seen_from),
        balance: found.balance_at(seen_from),
        available: found.spendable_at(seen_from),
        overage: found.overage(),
        headroom: found.headroom(subscription.index, &drawing.overage),
        subscription,
    })
}

/// The subscription whose credits an event of this customer draws at `at`: the one that is named, or the
/// first by id of those that all draw in the same way.
fn find(
    books: &Books,
    (customer, meter): (CustomerIndex, MeterIndex),
    at: Timestamp,
    named: Option<&SubscriptionId>,
) -> Result<Linked, Refused> {
    let mut all = Vec::new();
    books.routes.each(customer, meter, at, |entry| {
        if let Some(CreditUse::Draws(drawing)) = entry.credit
            && let Some(subscription) = books.subscription(entry.key.subscription)
        {
            let (subscription, drawing) = (Arc::clone(subscription), drawing.clone());
            all.push(Linked { subscription, mark: entry.mark_key(), drawing });
        }
    });
    if let Some(id) = named {
        books.subscription_by_id(id).ok_or(Refused::NotFound("subscription"))?;
        let own = all.into_iter().find(|linked| linked.subscription.id == *id);
        return own.ok_or_else(|| {
            invalid(
                "subscription_id",
                "this subscription does not pay for usage of this customer and meter in credits",
            )
        });
    }
    let mut all = all.into_iter();
    let none = "no subscription of this customer pays for usage of this meter in credits";
    let first = all.next().ok_or_else(|| invalid("meter_id", none))?;
    let draws_alike = |other: &Linked| {
        let (left, right) = (&first.drawing, &other.drawing);
        left.entitlement == right.entitlement
            && left.terms == right.terms
            && left.overage == right.overage
    };
    if all.all(|other| draws_alike(&other)) {
        return Ok(first);
    }
    Err(invalid(
        "subscription_id",
        "several subscriptions of this customer pay for usage of this meter in credits, and not in the \
         same way: say which",
    ))
}

fn invalid(field: &str, message: &str) -> Refused {
    Refused::Invalid { field: field.to_owned(), message: message.to_owned() }
}
