//! What a daemon should have counted, computed in another way: events are drawn from a seed, values
//! are integers of millionths, and every hour is kept in a plain map.

use std::collections::BTreeMap;

use crate::common::random::Random;

/// Where the test clock of the source's events stands in round 0: an hour behind [`hour_text`] 0.
pub(crate) const CLOCK_START: &str = "2026-03-01T01:00:00Z";

const CUSTOMERS: u64 = 7;
const NANOS_PER_HOUR: i64 = 3_600_000_000_000;
const MILLIONTHS: u128 = 1_000_000;

/// What a meter makes of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Count,
    Sum,
    Max,
    Last,
}

/// Event name, kind, key, and the key and value that a filter asks for.
pub(crate) type Meter = (&'static str, Kind, &'static str, Option<(&'static str, &'static str)>);

/// The meters that the oracle knows.
pub(crate) const METERS: [Meter; 6] = [
    ("call", Kind::Count, "", None),
    ("call", Kind::Sum, "cost", None),
    ("call", Kind::Max, "cost", None),
    ("call", Kind::Last, "cost", None),
    ("call", Kind::Sum, "tokens", Some(("model", "large"))),
    ("ping", Kind::Count, "", None),
];

/// Events by number: the same number gives the same event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) seed: u64,
    /// Hours that the clock moves from round to round.
    pub(crate) hours_per_round: u64,
}

/// An event of the source.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    number: u64,
    customer: String,
    name: &'static str,
    /// Nanoseconds after [`hour_text`] 0; no other event has the same.
    at: i64,
    model: &'static str,
    tokens: u64,
    /// Millionths, and how they are written.
    cost: Option<(i128, u64)>,
}

impl Source {
    /// The event of this number, as it is sent in this round.
    pub(crate) fn event(&self, number: u64, round: u64) -> Event {
        let mut random = Random(self.seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        // From 50 minutes before the clock to 4 minutes ahead of it.
        let minutes = i64::try_from((1 + round * self.hours_per_round) * 60).unwrap() - 50;
        let millis = minutes * 60_000 + i64::try_from(random.below(54 * 60_000)).unwrap();
        let customer = match random.below(20) {
            0 => format!("customer of round {round}"),
            _ => format!("customer-{}", random.below(CUSTOMERS)),
        };
        let digits = u32::try_from(1 + random.below(15)).unwrap();
        let cost = i128::from(random.below(10_u64.pow(digits)));
        let cost = if random.once_in(4) { -cost } else { cost };
        Event {
            number,
            customer,
            name: if random.once_in(10) { "ping" } else { "call" },
            at: millis * 1_000_000 + i64::try_from(number % 1_000_000).unwrap(),
            model: if random.once_in(3) { "large" } else { "small" },
            tokens: random.below(100_000),
            cost: (!random.once_in(30)).then(|| (cost, random.below(3))),
        }
    }
}

impl Event {
    /// The event's JSON; with other content when it `differs`.
    pub(crate) fn json(&self, differs: bool) -> String {
        let Self { number, customer, name, model, tokens, .. } = self;
        let at = instant_text(self.at);
        let tokens = tokens + u64::from(differs);
        let cost = self.cost.map_or(String::new(), |(millionths, form)| {
            let text = match form {
                0 => format!("{millionths}e-6"),
                1 => decimal(millionths),
                _ => padded(millionths),
            };
            format!(",\"cost\":{text}")
        });
        format!(
            r#"{{"event_id":"event {number}","customer_id":"{customer}","event_name":"{name}","timestamp":"{at}","metadata":{{"model":"{model}","tokens":{tokens}{cost}}}}}"#
        )
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    count: i128,
    sum: i128,
    max: Option<i128>,
    last: Option<(i64, i128)>,
    missing: u64,
}

impl Cell {
    fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        self.last = self.last.max(other.last);
        self.missing += other.missing;
    }

    fn text(&self, kind: Kind) -> String {
        match kind {
            Kind::Count => self.count.to_string(),
            Kind::Sum => decimal(self.sum),
            Kind::Max => decimal(self.max.unwrap_or(0)),
            Kind::Last => decimal(self.last.map_or(0, |(_, value)| value)),
        }
    }
}

/// Start and value of each hour that has events.
type Hours = Vec<(String, String)>;

/// What one meter says of one customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) customer: String,
    pub(crate) total: String,
    pub(crate) missing: u64,
    pub(crate) hours: Hours,
}

/// All that should have been counted.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// By meter, customer and hour.
    cells: BTreeMap<(usize, String, i64), Cell>,
    pub(crate) events: u64,
}

impl Oracle {
    /// Counts the event once.
    pub(crate) fn count(&mut self, event: &Event) {
        self.events += 1;
        for (meter, (name, kind, key, filter)) in METERS.iter().enumerate() {
            let passes = filter.is_none_or(|(_, model)| model == event.model);
            if *name != event.name || !passes {
                continue;
            }
            let hour = event.at.div_euclid(NANOS_PER_HOUR);
            let cell = self.cells.entry((meter, event.customer.clone(), hour)).or_default();
            let value = match (*kind, *key) {
                (Kind::Count, _) => Some(0),
                (_, "cost") => event.cost.map(|(millionths, _)| millionths),
                _ => Some(i128::from(event.tokens) * MILLIONTHS.cast_signed()),
            };
            match value {
                None => cell.missing += 1,
                Some(value) => cell.merge(&Cell {
                    count: 1,
                    sum: value,
                    max: Some(value),
                    last: Some((event.at, value)),
                    missing: 0,
                }),
            }
        }
    }

    /// What the meter at this place says of its customers, in the order of their ids.
    pub(crate) fn usage(&self, meter: usize, in_hours: bool) -> Vec<Usage> {
        let kind = METERS[meter].1;
        let mut wholes: BTreeMap<&str, (Cell, Hours)> = BTreeMap::new();
        for ((of, customer, hour), cell) in &self.cells {
            if *of == meter {
                let (whole, hours) = wholes.entry(customer).or_default();
                whole.merge(cell);
                if in_hours {
                    hours.push((hour_text(*hour), cell.text(kind)));
                }
            }
        }
        let usage = |(customer, (whole, hours)): (&str, (Cell, Hours))| Usage {
            customer: customer.to_owned(),
            total: whole.text(kind),
            missing: whole.missing,
            hours,
        };
        wholes.into_iter().map(usage).collect()
    }
}

/// The start of an hour from -24 to 700, counted from the beginning of March 2026.
pub(crate) fn hour_text(hour: i64) -> String {
    let (month, day) = if hour < 0 { (2, 28) } else { (3, 1 + hour / 24) };
    format!("2026-{month:02}-{day:02}T{:02}:00:00Z", hour.rem_euclid(24))
}

fn instant_text(nanos: i64) -> String {
    let hour = hour_text(nanos.div_euclid(NANOS_PER_HOUR));
    let rest = nanos.rem_euclid(NANOS_PER_HOUR);
    let (seconds, nanos) = (rest / 1_000_000_000, rest % 1_000_000_000);
    let day_and_hour = hour.strip_suffix(":00:00Z").unwrap();
    format!("{day_and_hour}:{:02}:{:02}.{nanos:09}Z", seconds / 60, seconds % 60)
}

/// Millionths with all six places.
fn padded(millionths: i128) -> String {
    let sign = if millionths < 0 { "-" } else { "" };
    let magnitude = millionths.unsigned_abs();
    format!("{sign}{}.{:06}", magnitude / MILLIONTHS, magnitude % MILLIONTHS)
}

/// Millionths as the shortest decimal.
fn decimal(millionths: i128) -> String {
    padded(millionths).trim_end_matches('0').trim_end_matches('.').to_owned()
}
