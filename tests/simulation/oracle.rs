//! What usage, periods and invoices must say: computed from every sample that was acknowledged.
//!
//! It knows what each event gave each meter, and adds that up anew for every question. A caller gets an
//! error when the engine cannot read its disk; what the engine says wrongly is a panic.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quipu::engine::bills::{BillsError, InvoiceFilter, InvoiceView, UsageHistoryQuery};
use quipu::engine::{Engine, Page};
use quipu::metering::accumulator::Kind;
use quipu::model::invoice::{FixedLine, InvoiceCause, LineDetail, UsageLine};
use quipu::model::rate::{Tier, TierMode};
use quipu::model::{
    Lsn, MeterId, Money, Period, Quantity, Rate, Subscription, SubscriptionId, SubscriptionStatus,
    Timestamp, UnitPrice, Used,
};

/// More than any list here holds.
const ALL: Page = Page { offset: 0, limit: 100_000 };

/// What one event gave one meter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Timestamp,
    pub(crate) lsn: Lsn,
    pub(crate) value: Quantity,
}

/// Every sample, and how the meters add up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    kinds: BTreeMap<MeterId, Kind>,
    samples: BTreeMap<(MeterId, String), Vec<Sample>>,
    /// The events that log time had passed when a subscription began. They are not its, even when log
    /// time was set back before, and they lie in its periods.
    passed: BTreeMap<SubscriptionId, BTreeSet<Lsn>>,
    /// The subscriptions that were ever paused: between their segments may be gaps.
    paused: BTreeSet<SubscriptionId>,
    /// The segments whose period goes on in the next one, where every such cut is known.
    pub(crate) cuts: Option<BTreeSet<(SubscriptionId, u32)>>,
}

/// Whose usage is asked for.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    subscription: &'a SubscriptionId,
    customer: &'a str,
    period: Period,
}

impl Oracle {
    pub(crate) fn add_meter(&mut self, id: MeterId, kind: Kind) {
        self.kinds.insert(id, kind);
    }

    pub(crate) fn count(&mut self, meter: &MeterId, customer: &str, sample: Sample) {
        self.samples.entry((meter.clone(), customer.to_owned())).or_default().push(sample);
    }

    /// Notes that a subscription begins to count, and what log time has passed.
    pub(crate) fn begin(&mut self, id: SubscriptionId, passed: BTreeSet<Lsn>) {
        self.passed.insert(id, passed);
    }

    /// Notes that a subscription was paused, or may have been.
    pub(crate) fn pause(&mut self, id: SubscriptionId) {
        self.paused.insert(id);
    }

    /// A meter's aggregation over all of a customer's samples.
    pub(crate) fn total(&self, customer: &str, meter: &MeterId) -> Quantity {
        self.aggregate(customer, meter, |_| true).0
    }

    /// A meter's aggregation over each hour of which a customer has a sample, by its first instant.
    pub(crate) fn hours(&self, customer: &str, meter: &MeterId) -> BTreeMap<Timestamp, Quantity> {
        const HOUR: i64 = 3_600_000_000_000;
        let hour_of = |sample: &Sample| sample.at.as_nanos().div_euclid(HOUR) * HOUR;
        let samples = self.samples.get(&(meter.clone(), customer.to_owned()));
        let hours: BTreeSet<_> = samples.into_iter().flatten().map(hour_of).collect();
        let total = |hour| self.aggregate(customer, meter, |sample| hour_of(sample) == hour).0;
        hours.into_iter().map(|hour| (Timestamp::from_nanos(hour), total(hour))).collect()
    }

    /// What of a meter a subscription pays for, and its first and last LSN.
    fn billed(&self, asked: Asked<'_>, meter: &MeterId) -> (Quantity, Option<(Lsn, Lsn)>) {
        let passed = self.passed.get(asked.subscription);
        self.aggregate(asked.customer, meter, |sample| {
            let is_early = passed.is_some_and(|passed| passed.contains(&sample.lsn));
            asked.period.start <= sample.at && sample.at < asked.period.end && !is_early
        })
    }

    fn aggregate(
        &self,
        customer: &str,
        meter: &MeterId,
        is_in: impl Fn(&Sample) -> bool,
    ) -> (Quantity, Option<(Lsn, Lsn)>) {
        let kind = *self.kinds.get(meter).expect("a known meter");
        let samples = self.samples.get(&(meter.clone(), customer.to_owned()));
        let samples = || samples.into_iter().flatten().filter(|sample| is_in(sample));
        let value = match kind {
            Kind::Count => Quantity::from_count(samples().count() as u64),
            Kind::Sum => {
                Quantity::from_units(samples().map(|sample| sample.value.as_units()).sum())
            }
            Kind::Max => samples().map(|sample| sample.value).max().unwrap_or_default(),
            Kind::Last => {
                let last = samples().max_by_key(|sample| (sample.at, sample.lsn));
                last.map(|sample| sample.value).unwrap_or_default()
            }
        };
        let lsns = || samples().map(|sample| sample.lsn);
        (value, lsns().min().zip(lsns().max()))
    }

    /// Everything that the engine says of money is what the samples come to.
    pub(crate) fn check(
        &self,
        engine: &Engine,
        subscriptions: &[SubscriptionId],
    ) -> Result<Vec<InvoiceView>, BillsError> {
        let mut invoices = engine.invoices(&InvoiceFilter::default(), ALL)?;
        invoices.reverse();
        for (view, number) in invoices.iter().zip(1..) {
            assert_eq!(view.invoice.number.0, number, "numbers have no gaps");
            self.check_invoice(view);
        }
        for id in subscriptions {
            let subscription = engine.subscription(id).expect("it was acknowledged").subscription;
            let own: Vec<&InvoiceView> =
                invoices.iter().filter(|view| view.subscription_id.as_ref() == Some(id)).collect();
            check_segments(&subscription, &own, self.paused.contains(id));
            self.check_used(id, &own);
            self.check_history(engine, &subscription)?;
        }
        Ok(invoices)
    }

    fn check_invoice(&self, view: &InvoiceView) {
        let invoice = &view.invoice;
        let sum: i64 = invoice.lines.iter().map(|line| line.amount.as_minor()).sum();
        assert_eq!(Money::from_minor(sum), invoice.total, "lines sum to the total");
        for (line, meter) in invoice.lines.iter().zip(&view.meter_ids) {
            match &line.detail {
                LineDetail::Fixed(fixed) => {
                    assert_eq!(i128::from(line.amount.as_minor()), fixed_amount(fixed));
                }
                LineDetail::Unused(fixed) => {
                    assert_eq!(i128::from(line.amount.as_minor()), -fixed_amount(fixed));
                }
                LineDetail::Overage(_) | LineDetail::Charge(_) | LineDetail::Credit => {}
                LineDetail::Usage(usage) => {
                    let meter = meter.as_ref().expect("a usage line has a meter");
                    let customer = view.customer_id.as_str();
                    let of = view.subscription_id.as_ref().zip(invoice.period);
                    let (subscription, period) = of.expect("usage is a subscription's");
                    self.check_line(Asked { subscription, customer, period }, meter, usage);
                    self.check_amount(meter, usage, line.amount);
                    let is_before = |(_, last): (Lsn, Lsn)| last <= invoice.cut_off_lsn;
                    assert!(usage.lsns.is_none_or(is_before), "{invoice:?}");
                }
            }
        }
    }

    fn check_line(&self, asked: Asked<'_>, meter: &MeterId, usage: &UsageLine) {
        let (consumed, lsns) = self.billed(asked, meter);
        assert_eq!(usage.consumed, consumed, "{meter} {asked:?}");
        assert_eq!(usage.lsns, lsns, "{meter} {asked:?}");
        assert_eq!(usage.chargeable.as_units(), self.chargeable(meter, usage));
    }

    /// What is charged beyond free units, and beyond what earlier segments of the period used of them.
    fn chargeable(&self, meter: &MeterId, usage: &UsageLine) -> i128 {
        let free = i128::from(usage.free_threshold) * 1_000_000_000_000;
        let consumed = usage.consumed.as_units();
        let over = |units: i128| (units - free).max(0);
        if self.adds_up(meter) {
            let (total, high) = (usage.used.total.as_units(), usage.used.high.as_units());
            over(high.max(total + consumed)) - over(high)
        } else {
            (over(consumed) - usage.used.billed.as_units()).max(0)
        }
    }

    /// What a line comes to by hand: rounded half away from zero, between its bounds. The minimum is owed
    /// with the last segment of a period alone.
    fn check_amount(&self, meter: &MeterId, usage: &UsageLine, amount: Money) {
        let free = i128::from(usage.free_threshold) * 1_000_000_000_000;
        let from = if self.adds_up(meter) {
            (usage.used.high.as_units() - free).max(0)
        } else {
            usage.used.billed.as_units()
        };
        let to = from + usage.chargeable.as_units();
        let exact = match &usage.rate {
            Rate::Tiered { mode: TierMode::Volume, tiers } => volume_cost(tiers, from, to),
            Rate::PerUnit(_) | Rate::Package { .. } | Rate::Tiered { .. } | Rate::Credits(_) => {
                cost(&usage.rate, to) - cost(&usage.rate, from)
            }
        };
        let one = 10_i128.pow(24);
        let rounded = exact / one + i128::from(exact % one * 2 >= one);
        let before = i128::from(usage.used.amount.as_minor());
        let minor = |bound: Option<Money>| bound.map(|bound| i128::from(bound.as_minor()) - before);
        let most = minor(usage.maximum).map_or(i128::MAX, |most| most.max(0));
        let bounded = rounded.min(most);
        let topped_up = bounded.max(minor(usage.minimum).unwrap_or(bounded));
        let found = i128::from(amount.as_minor());
        assert!(found == bounded || found == topped_up, "{found} {bounded} {topped_up} {usage:?}");
    }

    fn adds_up(&self, meter: &MeterId) -> bool {
        match self.kinds.get(meter).expect("a known meter") {
            Kind::Count | Kind::Sum => true,
            Kind::Max | Kind::Last => false,
        }
    }

    /// What each line says that was used of its period is what the lines before it come to.
    fn check_used(&self, id: &SubscriptionId, invoices: &[&InvoiceView]) {
        let mut used: BTreeMap<&MeterId, Used> = BTreeMap::new();
        for view in invoices {
            let InvoiceCause::Closed(number) = view.invoice.cause else { continue };
            let lines = view.invoice.lines.iter().zip(&view.meter_ids);
            let usage = lines.filter_map(|(line, meter)| Some((line, line.detail.usage()?, meter)));
            let goes_on = match &self.cuts {
                Some(cuts) => number > 0 && cuts.contains(&(id.clone(), number - 1)),
                None => usage.clone().any(|(_, usage, _)| usage.used != Used::default()),
            };
            if !goes_on {
                used.clear();
            }
            for (line, usage, meter) in usage {
                let meter = meter.as_ref().expect("a usage line has a meter");
                let before = used.entry(meter).or_default();
                assert_eq!(usage.used, *before, "{meter} {:?}", view.invoice);
                if self.adds_up(meter) {
                    let total = before.total.as_units() + usage.consumed.as_units();
                    before.total = Quantity::from_units(total);
                    before.high = before.high.max(before.total);
                } else {
                    before.high = before.high.max(usage.consumed);
                }
                let billed = before.billed.as_units() + usage.chargeable.as_units();
                before.billed = Quantity::from_units(billed);
                let amount = before.amount.as_minor() + line.amount.as_minor();
                before.amount = Money::from_minor(amount);
            }
        }
    }

    /// The running and closing periods show every acknowledged event.
    fn check_history(
        &self,
        engine: &Engine,
        subscription: &Subscription,
    ) -> Result<(), BillsError> {
        let query = UsageHistoryQuery::default();
        let history = engine.usage_history(&subscription.id, &query, ALL)?;
        let view = engine.subscription(&subscription.id).expect("it was just there");
        for period in &history {
            for meter in &period.meters {
                let customer = view.customer.id.as_str();
                let (subscription, period) = (&subscription.id, period.period);
                self.check_line(
                    Asked { subscription, customer, period },
                    &meter.meter_id,
                    &meter.usage,
                );
                self.check_amount(&meter.meter_id, &meter.usage, meter.total);
            }
        }
        let shown: Vec<Period> = history.iter().rev().map(|period| period.period).collect();
        for (left, right) in shown.iter().zip(shown.iter().skip(1)) {
            assert!(left.end <= right.start, "periods do not overlap");
            let is_gap = left.end < right.start;
            assert!(!is_gap || self.paused.contains(&subscription.id), "a gap without a pause");
        }
        Ok(())
    }
}

/// The share of a fixed price, rounded by hand.
fn fixed_amount(fixed: &FixedLine) -> i128 {
    let full = i128::from(fixed.price.as_minor()) * i128::from(fixed.quantity);
    let exact = full * i128::from(10_000 - fixed.discount_bps);
    let nanos = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap();
    let (part, whole) = fixed.share.map_or((1, 1), |share| (nanos(share.part), nanos(share.whole)));
    let divisor = 10_000 * whole;
    (2 * exact * part + divisor) / (2 * divisor)
}

/// What so many units of a period cost together by hand, in units of 10^-24.
fn cost(rate: &Rate, units: i128) -> i128 {
    let one = 10_i128.pow(24);
    match rate {
        Rate::PerUnit(price) => product(units, Some(*price)),
        Rate::Package { size, price } => {
            let size = i128::from(*size) * 10_i128.pow(12);
            product((units + size - 1) / size * 10_i128.pow(12), Some(*price))
        }
        Rate::Tiered { tiers, .. } => {
            let fee = |tier: &Tier| i128::from(tier.flat_fee.as_minor()) * one;
            let reached = starts(tiers).filter(|(_, start)| units > *start);
            let costs = reached.map(|(tier, start)| {
                let end = tier.up_to.map_or(units, |end| end.as_units().min(units));
                product(end - start, tier.price_per_unit) + fee(tier)
            });
            costs.sum()
        }
        Rate::Credits(_) => 0,
    }
}

/// The units from the first to the last of a span at the price of the tier that the last lies in.
fn volume_cost(tiers: &[Tier], from: i128, to: i128) -> i128 {
    if from == to {
        return 0;
    }
    let reached = |units: i128| starts(tiers).filter(|(_, start)| units > *start).last();
    let (tier, start) = reached(to).expect("the first tier begins at nothing");
    let is_entered = reached(from).is_none_or(|(_, earlier)| earlier != start);
    let fee = if is_entered { i128::from(tier.flat_fee.as_minor()) } else { 0 };
    product(to - from, tier.price_per_unit) + fee * 10_i128.pow(24)
}

/// Tiers with where they begin.
fn starts(tiers: &[Tier]) -> impl Iterator<Item = (&Tier, i128)> {
    let ends = tiers.iter().map(|tier| tier.up_to.map_or(0, Quantity::as_units));
    tiers.iter().zip(std::iter::once(0).chain(ends))
}

fn product(units: i128, price: Option<UnitPrice>) -> i128 {
    let price = price.map_or(0, UnitPrice::as_units);
    units.checked_mul(price).expect("small enough for this test")
}

/// One invoice at the creation, then one a segment, in order and without a gap but pauses; closed ones
/// first. Changes of plan have invoices of their own.
fn check_segments(subscription: &Subscription, invoices: &[&InvoiceView], was_paused: bool) {
    let (first, later) = invoices.split_first().expect("each is made with an invoice");
    assert_eq!(first.invoice.cause, InvoiceCause::Created);
    let mut segments: Vec<(u32, Period)> = Vec::new();
    for view in later {
        let number = match view.invoice.cause {
            InvoiceCause::Closed(number) => number,
            InvoiceCause::Changed | InvoiceCause::Charged => continue,
            InvoiceCause::Created => panic!("two invoices for one creation"),
            InvoiceCause::Cart => panic!("a cart has no subscription"),
        };
        // A cut that is asked for while log time is set back ends behind what was counted.
        let period = view.invoice.period.expect("a close has a period");
        assert!(view.invoice.due_at <= period.end, "{:?}", view.invoice);
        segments.push((number, period));
    }
    let open = subscription.closing.iter().map(|closing| closing.segment);
    segments.extend(open.chain(subscription.running).map(|open| (open.number, open.period)));
    if !subscription.cycle.renews {
        // What is charged on demand counts nothing.
        let running = subscription.running.map(|running| (running.number, running.period));
        assert_eq!(segments, running.into_iter().collect::<Vec<_>>());
        segments.clear();
    }
    for ((number, period), expected) in segments.iter().zip(0..) {
        assert_eq!(*number, expected, "every segment has one invoice, in order");
        assert!(period.start <= period.end);
    }
    for ((_, left), (_, right)) in segments.iter().zip(segments.iter().skip(1)) {
        assert!(left.end <= right.start, "segments do not overlap");
        assert!(left.end == right.start || was_paused, "a gap without a pause");
    }
    let stands_still = match subscription.status {
        SubscriptionStatus::Cancelled | SubscriptionStatus::Expired => true,
        SubscriptionStatus::Pending
        | SubscriptionStatus::Active
        | SubscriptionStatus::OnHold
        | SubscriptionStatus::PastDue
        | SubscriptionStatus::Paused => subscription.paused_at.is_some(),
    };
    assert_eq!(subscription.running.is_none(), stands_still || subscription.next_segment == 0);
    if let Some((_, last)) = segments.last().filter(|_| !stands_still) {
        assert_eq!(last.end, subscription.cycle.next_billing_date);
    }
}

/// What changes of plan have left of a subscription is what its invoices kept and did not take.
pub(crate) fn check_credit(subscription: &Subscription, invoices: &[&InvoiceView]) {
    let lines = invoices.iter().flat_map(|view| &view.invoice.lines);
    let credit = lines.filter(|line| line.detail == LineDetail::Credit);
    let left: i64 = credit.map(|line| line.amount.as_minor()).sum();
    assert_eq!(subscription.credit.as_minor(), left);
    assert!(left >= 0);
}
