//! What invoices and periods must say: computed from every event that was acknowledged.

use crate::engine::bills::{InvoiceFilter, InvoiceView, UsageHistoryQuery};
use crate::engine::{Engine, Page};
use crate::metering::accumulator::Kind;
use crate::model::invoice::{InvoiceCause, LineDetail, UsageLine};
use crate::model::{
    Lsn, MeterId, Money, Number, Period, Quantity, Subscription, SubscriptionId,
    SubscriptionStatus, Timestamp,
};

/// More than any list here holds.
const ALL: Page = Page { offset: 0, limit: 100_000 };

/// An event that was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Acknowledged {
    pub customer: String,
    pub at: Timestamp,
    pub lsn: Lsn,
    /// The text under `tokens`.
    pub tokens: Option<String>,
}

/// Everything that was acknowledged, and the meters that count it.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub events: Vec<Acknowledged>,
    pub meters: Vec<(MeterId, Kind)>,
}

impl Oracle {
    /// The aggregation of a meter over a customer's events of a period, and its first and last LSN.
    fn aggregate(
        &self,
        customer: &str,
        kind: Kind,
        period: Period,
    ) -> (Quantity, Option<(Lsn, Lsn)>) {
        let mut samples = Vec::new();
        for event in &self.events {
            let is_in =
                event.customer == customer && period.start <= event.at && event.at < period.end;
            let value = match (kind, &event.tokens) {
                (Kind::Count, _) => Some(Quantity::ZERO),
                (_, tokens) => {
                    tokens.as_ref().map(|text| Number::new(text).unwrap().to_quantity().unwrap())
                }
            };
            if let (true, Some(value)) = (is_in, value) {
                samples.push((event.at, event.lsn, value));
            }
        }
        let value = match kind {
            Kind::Count => Quantity::from_count(samples.len() as u64),
            Kind::Sum => {
                Quantity::from_units(samples.iter().map(|(_, _, value)| value.as_units()).sum())
            }
            Kind::Max => samples.iter().map(|(_, _, value)| *value).max().unwrap_or_default(),
            Kind::Last => {
                let last = samples.iter().max_by_key(|(at, lsn, _)| (*at, *lsn));
                last.map(|(_, _, value)| *value).unwrap_or_default()
            }
        };
        let lsns = samples.iter().map(|(_, lsn, _)| *lsn);
        (value, lsns.clone().min().zip(lsns.max()))
    }

    fn check_line(&self, customer: &str, meter: &MeterId, usage: &UsageLine, period: Period) {
        let (_, kind) = self.meters.iter().find(|(id, _)| id == meter).expect("a known meter");
        let (consumed, lsns) = self.aggregate(customer, *kind, period);
        assert_eq!(usage.consumed, consumed, "{customer} {meter} {period:?}");
        assert_eq!(usage.lsns, lsns, "{customer} {meter} {period:?}");
        let free = i128::from(usage.free_threshold) * 1_000_000_000_000;
        let chargeable = (consumed.as_units() - free).max(0);
        assert_eq!(usage.chargeable.as_units(), chargeable);
    }

    fn check_invoice(&self, view: &InvoiceView) {
        let invoice = &view.invoice;
        let sum: i64 = invoice.lines.iter().map(|line| line.amount.as_minor()).sum();
        assert_eq!(Money::from_minor(sum), invoice.total, "lines sum to the total");
        for (line, meter) in invoice.lines.iter().zip(&view.meter_ids) {
            match &line.detail {
                LineDetail::Fixed(fixed) => {
                    let full = i128::from(fixed.price.as_minor()) * i128::from(fixed.quantity);
                    let exact = full * i128::from(10_000 - fixed.discount_bps);
                    assert_eq!(i128::from(line.amount.as_minor()), (exact + 5_000) / 10_000);
                }
                LineDetail::Usage(usage) => {
                    let meter = meter.as_ref().expect("a usage line has a meter");
                    self.check_line(view.customer_id.as_str(), meter, usage, invoice.period);
                    assert_eq!(i128::from(line.amount.as_minor()), amount(usage));
                }
            }
        }
        let last = self.events.iter().filter(|event| event.lsn <= invoice.cut_off_lsn).count();
        let counted = invoice.lines.iter().filter_map(|line| match &line.detail {
            LineDetail::Fixed(_) => None,
            LineDetail::Usage(usage) => usage.lsns,
        });
        assert!(counted.into_iter().all(|(_, last_lsn)| last_lsn <= invoice.cut_off_lsn), "{last}");
    }

    /// Everything that the engine says of money is what the events come to.
    pub(super) fn check(&self, engine: &Engine, subscriptions: &[SubscriptionId]) {
        let mut invoices = engine.invoices(&InvoiceFilter::default(), ALL).unwrap();
        invoices.reverse();
        for (view, number) in invoices.iter().zip(1..) {
            assert_eq!(view.invoice.number.0, number, "numbers have no gaps");
            self.check_invoice(view);
        }
        for id in subscriptions {
            let subscription = engine.subscription(id).expect("it was acknowledged").subscription;
            let own: Vec<&InvoiceView> =
                invoices.iter().filter(|view| view.subscription_id == *id).collect();
            check_periods(&subscription, &own);
            self.check_history(engine, &subscription);
        }
    }

    /// The running and closing periods show every acknowledged event.
    fn check_history(&self, engine: &Engine, subscription: &Subscription) {
        let query = UsageHistoryQuery::default();
        let history = engine.usage_history(&subscription.id, &query, ALL).unwrap();
        let view = engine.subscription(&subscription.id).unwrap();
        for period in &history {
            for meter in &period.meters {
                let customer = view.customer.id.as_str();
                self.check_line(customer, &meter.meter_id, &meter.usage, period.period);
                assert_eq!(i128::from(meter.total.as_minor()), amount(&meter.usage));
            }
        }
        let shown: Vec<Period> = history.iter().rev().map(|period| period.period).collect();
        for (left, right) in shown.iter().zip(shown.iter().skip(1)) {
            assert_eq!(left.end, right.start, "periods neither overlap nor have gaps");
        }
    }
}

/// Rounded by hand: half away from zero, from units of 10^-24.
fn amount(usage: &UsageLine) -> i128 {
    let price = usage.price_per_unit.as_units();
    let units = usage.chargeable.as_units();
    let exact = units.checked_mul(price).expect("small enough for this test");
    let one = 10_i128.pow(24);
    exact / one + i128::from(exact % one * 2 >= one)
}

/// One invoice at the creation, then one a segment, in order and without a gap; closed ones first.
fn check_periods(subscription: &Subscription, invoices: &[&InvoiceView]) {
    let (first, closed) = invoices.split_first().expect("each is made with an invoice");
    assert_eq!(first.invoice.cause, InvoiceCause::Created);
    let mut segments: Vec<(u32, Period)> = Vec::new();
    for view in closed {
        let InvoiceCause::Closed(number) = view.invoice.cause else {
            panic!("two invoices for one creation")
        };
        assert_eq!(view.invoice.due_at, view.invoice.period.end);
        segments.push((number, view.invoice.period));
    }
    let open = subscription.closing.iter().map(|closing| closing.segment);
    segments.extend(open.chain(subscription.running).map(|open| (open.number, open.period)));
    for ((number, period), expected) in segments.iter().zip(0..) {
        assert_eq!(*number, expected, "every segment has one invoice, in order");
        assert!(period.start <= period.end);
    }
    for ((_, left), (_, right)) in segments.iter().zip(segments.iter().skip(1)) {
        assert_eq!(left.end, right.start, "segments neither overlap nor have gaps");
    }
    let is_over = match subscription.status {
        SubscriptionStatus::Cancelled | SubscriptionStatus::Expired => true,
        SubscriptionStatus::Pending | SubscriptionStatus::Active | SubscriptionStatus::OnHold => {
            false
        }
    };
    assert_eq!(subscription.running.is_none(), is_over || subscription.next_segment == 0);
    if let Some((_, last)) = segments.last().filter(|_| !is_over) {
        assert_eq!(last.end, subscription.cycle.next_billing_date);
    }
}
