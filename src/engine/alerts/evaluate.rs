//! What fires for one customer: thresholds beside the counters of every period that is open; and how much may
//! come before anything can.

use std::sync::Arc;

use super::Touched;
use super::headroom::Headroom;
use super::watch::kept_for;
use crate::engine::bills::{Cost, MeterPeriod, periods_of_meter};
use crate::engine::pools::{PoolKey, view};
use crate::engine::query::{self, UsageError, UsageQuery};
use crate::engine::shared::Shared;
use crate::metering::accumulator::Kind;
use crate::model::alert::{Alert, Crossing, Level, Span, Threshold};
use crate::model::{
    Attachment, Causes, Credits, CustomerIndex, MeterIndex, Period, Quantity, Subscription,
    Timestamp,
};

/// More than ever comes.
const UNBOUNDED: Quantity = Quantity::from_units(i128::MAX);

/// What a customer's counters come to in one period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    span: Span,
    period: Period,
    usage: Option<Quantity>,
    cost: Option<Cost>,
    balance: Option<Credits>,
}

/// What somebody has seen who looked at a customer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What is news, in the order of the alerts, then of periods.
    pub crossings: Vec<Crossing>,
    /// How much more usage of a meter lets nothing fire.
    pub headroom: Option<((CustomerIndex, MeterIndex), Headroom)>,
}

/// Looks at one customer. What has moved its counters is stamped with `since` or later.
///
/// # Errors
/// When hours on disk cannot be read.
pub fn look_at(shared: &Shared, touched: Touched, since: Timestamp) -> Result<Look, UsageError> {
    let (watched, customer) = touched.watched();
    let alerts = shared.state.with_alerts(|alerts| alerts.on(watched, customer));
    let (found, headroom) = match touched {
        // Events of this customer are not worth a look.
        Touched::Usage(customer, meter) if alerts.is_empty() => {
            let headroom = Headroom::new(Timestamp::default(), UNBOUNDED);
            return Ok(Look {
                crossings: Vec::new(),
                headroom: Some(((customer, meter), headroom)),
            });
        }
        Touched::Usage(customer, meter) => {
            let kind = shared.state.catalogue().kind(meter).unwrap_or(Kind::Count);
            let found = usage(shared, customer, meter, since)?;
            let left = least_left(&alerts, &found, kind);
            let headroom = Headroom::new(since.month_start(), left);
            (found, Some(((customer, meter), headroom)))
        }
        Touched::Pool(pool) => (vec![balance(shared, pool)], None),
    };
    // Whether alerts have fired for what ended longer ago may be forgotten.
    let (now, kept_for) = (now(shared), kept_for(shared));
    let remembered = |found: &&Found| found.period.end.plus(kept_for) > now;
    let firing = alerts.iter().flat_map(|alert| {
        let crossed =
            found.iter().filter(remembered).filter_map(|found| crossing(alert, customer, found));
        crossed.collect::<Vec<_>>()
    });
    let firing: Vec<Crossing> = firing.collect();
    let crossings = shared.state.with_alerts(|alerts| {
        firing.into_iter().filter(|crossing| alerts.is_news(crossing)).collect()
    });
    Ok(Look { crossings, headroom })
}

/// What fires by the closing segments of a subscription as far as nobody has looked at its customer yet.
/// Hours on disk that cannot be read hold no close up.
pub fn crossings_before_close(shared: &Shared, subscription: &Subscription) -> Vec<Crossing> {
    if shared.state.with_alerts(|alerts| alerts.is_settled()) {
        return Vec::new();
    }
    let mut meters: Vec<MeterIndex> = shared.state.with_books(|books| {
        let closing = subscription.closing.iter();
        closing.flat_map(|closing| books.meters(closing.segment.terms)).collect()
    });
    meters.sort_unstable();
    meters.dedup();
    let touched = meters.into_iter().map(|meter| Touched::Usage(subscription.customer, meter));
    let waiting = touched.filter_map(|touched| {
        let since = shared.state.with_alerts(|alerts| alerts.touched_since(&touched))?;
        Some((touched, since))
    });
    let looks = waiting.map(|(touched, since)| {
        look_at(shared, touched, since).unwrap_or_else(|error| {
            tracing::error!(error = %Causes(&error), "read usage for alerts");
            Look::default()
        })
    });
    looks.flat_map(|look| look.crossings).collect()
}

/// Whether what was found is at a threshold or beyond it.
fn crossing(alert: &Arc<Alert>, customer: CustomerIndex, found: &Found) -> Option<Crossing> {
    let level = match alert.threshold {
        Threshold::Usage { at_least, .. } => {
            found.usage.filter(|usage| *usage >= at_least).map(Level::Usage)
        }
        Threshold::Cost { currency, at_least, .. } => found
            .cost
            .filter(|cost| cost.currency == currency && cost.amount >= at_least)
            .map(|cost| Level::Cost(cost.currency, cost.amount)),
        Threshold::Balance { at_most, .. } => {
            found.balance.filter(|balance| *balance <= at_most).map(Level::Balance)
        }
    };
    let (span, period) = (found.span, found.period);
    level.map(|level| Crossing { alert: alert.index, customer, span, period, level })
}

/// How much may come of a meter before one of the alerts on it can fire. Where an alert has found its threshold
/// it does not fire again, and every other period begins with nothing.
fn least_left(alerts: &[Arc<Alert>], found: &[Found], kind: Kind) -> Quantity {
    let left = alerts.iter().map(|alert| match alert.threshold {
        Threshold::Usage { at_least, .. } => {
            let used = found.iter().filter_map(|found| found.usage);
            let below = used.filter(|used| *used < at_least);
            let left = below.filter_map(|used| match kind {
                Kind::Count | Kind::Sum => at_least.checked_sub(used),
                Kind::Max | Kind::Last => Some(at_least),
            });
            left.chain([at_least]).min().unwrap_or(at_least)
        }
        Threshold::Cost { currency, at_least, .. } => {
            let paid = found.iter().filter_map(|found| found.cost);
            let below = paid.filter(|cost| cost.currency == currency && cost.amount < at_least);
            let left = below.map(|cost| match kind {
                Kind::Count | Kind::Sum => cost.left_below(at_least),
                // What a level costs depends on where it was before.
                Kind::Max | Kind::Last => Quantity::ZERO,
            });
            left.min().unwrap_or(UNBOUNDED)
        }
        Threshold::Balance { .. } => UNBOUNDED,
    });
    left.min().unwrap_or(UNBOUNDED)
}

/// Usage and cost of a meter: in the open periods of the customer's subscriptions that bill it, else in the
/// UTC months from that of `since` to this one.
fn usage(
    shared: &Shared,
    customer: CustomerIndex,
    meter: MeterIndex,
    since: Timestamp,
) -> Result<Vec<Found>, UsageError> {
    let billed = periods_of_meter(shared, customer, meter);
    if !billed.is_empty() {
        let found = billed.into_iter().map(|billed| {
            let MeterPeriod { span, period, usage, cost } = billed;
            Found { span, period, usage: Some(usage), cost: Some(cost), balance: None }
        });
        return Ok(found.collect());
    }
    let (mut period, now) = (month(since), now(shared));
    let mut found = Vec::new();
    // One that was ahead of the clock has its month, too.
    while period.start <= now.plus(shared.options.rules.max_ahead).max(since) {
        if let Some(usage) = of_month(shared, customer, meter, period)? {
            let span = Span::Month(period.start);
            found.push(Found { span, period, usage: Some(usage), cost: None, balance: None });
        }
        period = month(period.end);
    }
    Ok(found)
}

fn of_month(
    shared: &Shared,
    customer: CustomerIndex,
    meter: MeterIndex,
    period: Period,
) -> Result<Option<Quantity>, UsageError> {
    let catalogue = shared.state.catalogue();
    let meter_id = catalogue.meters().get(meter.position()).map(|meter| meter.id.clone());
    let customer_id = shared.state.with_accounts(|accounts| accounts.id_at(customer).cloned());
    let (Some(meter_id), Some(customer_id)) = (meter_id, customer_id) else { return Ok(None) };
    let query = UsageQuery {
        meter_id: Some(meter_id),
        customer_id: Some(customer_id),
        start: period.start,
        end: period.end,
        interval: None,
        offset: 0,
        limit: 1,
    };
    Ok(query::usage(shared, &query)?.total)
}

/// The balance of a pool, in the period of the first subscription by id that hands out such credits, else
/// in this UTC month.
fn balance(shared: &Shared, pool: PoolKey) -> Found {
    let now = now(shared);
    let view = view::as_of(&shared.state, &[pool], now);
    let kept = view.pools.into_iter().flatten().next();
    let balance = kept.map_or(Credits::ZERO, |kept| kept.pool.balance_at(now));
    let running = shared.state.with_books(|books| {
        let mut own: Vec<_> = books.of_customer(pool.customer).collect();
        own.sort_by(|left, right| left.id.cmp(&right.id));
        own.into_iter().find_map(|subscription| {
            let hands_out = |attached: &Attachment| attached.entitlement == pool.entitlement;
            let running =
                subscription.running.filter(|_| subscription.credits.iter().any(hands_out))?;
            Some((Span::Subscription(subscription.index, running.opened_by), running.period))
        })
    });
    let (span, period) = running.unwrap_or_else(|| {
        let month = month(now);
        (Span::Month(month.start), month)
    });
    Found { span, period, usage: None, cost: None, balance: Some(balance) }
}

fn now(shared: &Shared) -> Timestamp {
    shared.state.log_time().max(shared.world.clock.wall())
}

/// The UTC month that an instant lies in.
fn month(at: Timestamp) -> Period {
    Period { start: at.month_start(), end: at.next_month_start() }
}
