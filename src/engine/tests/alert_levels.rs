//! Alerts on meters of every kind: what nobody looked at could not have fired, and few are looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::goods::new_meter;
use super::rig::{Crash, Rig, Sent, tiny};
use crate::engine::command::alerts::{NewAlert, NewThreshold};
use crate::engine::{Command, Outcome};
use crate::metering::accumulator::Kind;
use crate::model::{Aggregation, AlertId, MeterId, Quantity, Timestamp};

const MINUTE: Duration = Duration::from_mins(1);
const KINDS: [Kind; 4] = [Kind::Count, Kind::Sum, Kind::Max, Kind::Last];
/// In thousandths of a unit.
const THRESHOLDS: [i64; 3] = [4_000, 9_500, 30_001];
const CUSTOMERS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Deed {
    /// A customer uses so many thousandths, stamped so many minutes before or behind the present.
    Use {
        customer: usize,
        thousandths: i64,
        minutes: i64,
    },
    Watch,
    Pass(Duration),
    Checkpoint,
    Crash,
}

fn any_deed() -> impl Strategy<Value = Deed> {
    let any_use = (0..CUSTOMERS, -3_000_i64..12_000, -50_i64..5);
    prop_oneof![
        20 => any_use.prop_map(|(customer, thousandths, minutes)| {
            Deed::Use { customer, thousandths, minutes }
        }),
        10 => Just(Deed::Watch),
        1 => (1_u64..9).prop_map(|days| Deed::Pass(Duration::from_hours(24 * days))),
        1 => Just(Deed::Checkpoint),
        1 => Just(Deed::Crash),
    ]
}

struct Alert {
    id: AlertId,
    kind: Kind,
    /// In thousandths.
    at_least: i64,
    /// The customers and months for which it must have fired.
    fired: BTreeSet<(usize, Timestamp)>,
}

/// A meter of each kind, and all that was used: by whom, when, how many thousandths.
struct Life {
    rig: Rig,
    alerts: Vec<Alert>,
    used: Vec<(usize, Timestamp, i64)>,
}

fn meters(rig: &mut Rig) -> Vec<(Kind, MeterId)> {
    let meters = KINDS.into_iter().map(|kind| {
        let key = "tokens".to_owned();
        let aggregation = match kind {
            Kind::Count => Aggregation::Count,
            Kind::Sum => Aggregation::Sum { key },
            Kind::Max => Aggregation::Max { key },
            Kind::Last => Aggregation::Last { key },
        };
        let made = rig.change(Command::CreateMeter(new_meter(aggregation))).unwrap();
        let Outcome::Meter(meter) = made.outcome else { panic!() };
        (kind, meter.id.clone())
    });
    meters.collect()
}

fn new_alert(meter_id: &MeterId, thousandths: i64) -> NewAlert {
    let at_least = Quantity::from_units(i128::from(thousandths) * 1_000_000_000);
    let threshold = NewThreshold::Usage { meter_id: meter_id.clone(), at_least };
    NewAlert { name: None, threshold, customer_id: None }
}

fn text(thousandths: i64) -> String {
    let sign = if thousandths < 0 { "-" } else { "" };
    let magnitude = thousandths.unsigned_abs();
    format!("{sign}{}.{:03}", magnitude / 1_000, magnitude % 1_000)
}

impl Life {
    fn new() -> Self {
        let mut rig = Rig::new(tiny());
        let mut alerts = Vec::new();
        for (kind, meter_id) in meters(&mut rig) {
            for at_least in THRESHOLDS {
                let id = rig.alert(new_alert(&meter_id, at_least)).unwrap();
                alerts.push(Alert { id, kind, at_least, fired: BTreeSet::new() });
            }
        }
        Self { rig, alerts, used: Vec::new() }
    }

    fn do_deed(&mut self, deed: Deed) {
        match deed {
            Deed::Use { customer, thousandths, minutes } => {
                let now = self.rig.engine.now();
                let distance = MINUTE * u32::try_from(minutes.unsigned_abs()).unwrap();
                let at = if minutes < 0 { now.minus(distance) } else { now.plus(distance) };
                let sent = Sent::new(format!("e{}", self.used.len()), &format!("c{customer}"));
                self.rig.ingest(&[sent.at(at).with_tokens(&text(thousandths))]).unwrap();
                self.used.push((customer, at, thousandths));
            }
            Deed::Watch => {
                self.rig.settle().unwrap();
                self.rig.watch();
                self.look();
            }
            Deed::Pass(time) => {
                self.do_deed(Deed::Watch);
                self.rig.advance(time);
                self.rig.settle().unwrap();
            }
            Deed::Checkpoint => self.rig.machine.checkpoint().unwrap(),
            Deed::Crash => self.rig = self.rig.place.after(Crash::Killed).open(),
        }
    }

    /// What must have fired once everybody was looked at.
    fn look(&mut self) {
        let periods: BTreeSet<(usize, Timestamp)> =
            self.used.iter().map(|(customer, at, _)| (*customer, at.month_start())).collect();
        for alert in &mut self.alerts {
            for (customer, month) in &periods {
                let of_period = self
                    .used
                    .iter()
                    .enumerate()
                    .filter(|(_, (who, at, _))| who == customer && at.month_start() == *month);
                let values = of_period.clone().map(|(_, (_, _, thousandths))| *thousandths);
                let level = match alert.kind {
                    Kind::Count => 1_000 * i64::try_from(values.count()).unwrap(),
                    Kind::Sum => values.sum(),
                    Kind::Max => values.max().unwrap(),
                    Kind::Last => {
                        of_period.max_by_key(|(number, (_, at, _))| (*at, *number)).unwrap().1.2
                    }
                };
                if level >= alert.at_least {
                    alert.fired.insert((*customer, *month));
                }
            }
        }
    }

    fn check(&self) {
        for alert in &self.alerts {
            let found = self.rig.engine.alert(&alert.id).unwrap().kept.fired_count;
            assert_eq!(found, alert.fired.len() as u64, "{:?} {}", alert.kind, alert.at_least);
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 48, ..Config::default() })]

    #[test]
    fn whoever_is_looked_at_after_every_event_finds_the_same(
        deeds in prop::collection::vec(any_deed(), 40..160),
    ) {
        let mut life = Life::new();
        for deed in deeds {
            life.do_deed(deed);
            if matches!(deed, Deed::Watch) {
                life.check();
            }
        }
        life.do_deed(Deed::Watch);
        life.check();
    }
}

#[test]
fn events_that_stay_below_every_threshold_are_not_looked_at() {
    let mut rig = Rig::new(tiny());
    let meters = meters(&mut rig);
    let far = meters.iter().map(|(_, meter_id)| rig.alert(new_alert(meter_id, 90_000)).unwrap());
    let far: Vec<AlertId> = far.collect();
    let mut used = 0;
    let mut use_one = |rig: &mut Rig| {
        used += 1;
        rig.ingest(&[Sent::new(format!("e{used}"), "c").with_tokens("1")]).unwrap();
        rig.watch();
    };
    (0..80).for_each(|_| use_one(&mut rig));
    assert_eq!(rig.engine.stats().alerts_looks, 4, "one a meter");
    // Another alert is nearer: what was known says nothing of it.
    let near = rig.alert(new_alert(&meters[0].1, 82_000)).unwrap();
    let fired = |rig: &Rig, id| rig.engine.alert(id).unwrap().kept.fired_count;
    use_one(&mut rig);
    assert_eq!(fired(&rig, &near), 0);
    use_one(&mut rig);
    assert_eq!(fired(&rig, &near), 1);
    (0..8).for_each(|_| use_one(&mut rig));
    assert_eq!(far.iter().map(|id| fired(&rig, id)).collect::<Vec<_>>(), [1, 1, 0, 0]);
}
