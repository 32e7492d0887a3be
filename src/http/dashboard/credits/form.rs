//! The form of a kind of credit, new or known.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::words;
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::route::Segment;
use crate::model::credit::OverageBehavior;
use crate::model::price::IntervalUnit;
use crate::model::{CreditEntitlement, EntitlementId};

#[derive(Template)]
#[template(path = "dashboard/credit_form.html", config = ".config/askama.toml")]
struct FormPage {
    shell: Shell,
    /// The one that is changed.
    known: Option<EntitlementId>,
    values: Values,
}

/// What stands in the inputs.
#[derive(Default)]
struct Values {
    name: String,
    description: String,
    unit: String,
    precision: String,
    expires_after_days: String,
    overage_enabled: bool,
    overage_limit: String,
    behavior: Option<OverageBehavior>,
    price_per_unit: String,
    currency: String,
    rollover_enabled: bool,
    rollover_percentage: String,
    timeframe_count: String,
    timeframe_unit: Option<IntervalUnit>,
    max_rollover_count: String,
}

/// What an entitlement says about overage: its name on the wire and in words.
const BEHAVIORS: [(OverageBehavior, &str); 4] = [
    (OverageBehavior::ForgiveAtReset, "forgive_at_reset"),
    (OverageBehavior::InvoiceAtBilling, "invoice_at_billing"),
    (OverageBehavior::CarryDeficit, "carry_deficit"),
    (OverageBehavior::CarryDeficitAutoRepay, "carry_deficit_auto_repay"),
];

const UNITS: [(IntervalUnit, &str); 4] = [
    (IntervalUnit::Day, "Day"),
    (IntervalUnit::Week, "Week"),
    (IntervalUnit::Month, "Month"),
    (IntervalUnit::Year, "Year"),
];

/// A new one.
pub(super) async fn create(State(dashboard): State<Arc<Dashboard>>, viewer: Viewer) -> Answer {
    viewer.require_admin()?;
    let values = Values {
        precision: "0".to_owned(),
        expires_after_days: "30".to_owned(),
        ..Values::default()
    };
    let shell = Shell::new(&dashboard.edge, &viewer, Place::Credits, "New credit");
    answer::show(&FormPage { shell, known: None, values })
}

/// One that is there.
pub(super) async fn update(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
) -> Answer {
    viewer.require_admin()?;
    let found = dashboard.edge.engine.entitlement_or_deleted(&EntitlementId::new(id))?;
    answer::show(&FormPage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Credits, &found.name),
        known: Some(found.id.clone()),
        values: Values::of(&found),
    })
}

impl Values {
    fn of(entitlement: &CreditEntitlement) -> Self {
        let (overage, rollover) = (&entitlement.terms.overage, &entitlement.terms.rollover);
        let shown = |value: Option<&dyn ToString>| value.map(ToString::to_string);
        let or_empty = |value: Option<&dyn ToString>| shown(value).unwrap_or_default();
        Self {
            name: entitlement.name.clone(),
            description: entitlement.description.clone().unwrap_or_default(),
            unit: entitlement.unit.clone(),
            precision: entitlement.precision.to_string(),
            expires_after_days: or_empty(
                entitlement.terms.expires_after_days.as_ref().map(|days| days as _),
            ),
            overage_enabled: overage.is_enabled,
            overage_limit: or_empty(overage.limit.as_ref().map(|limit| limit as _)),
            behavior: Some(overage.behavior),
            price_per_unit: or_empty(overage.price.as_ref().map(|price| price as _)),
            currency: or_empty(overage.currency.as_ref().map(|currency| currency as _)),
            rollover_enabled: rollover.is_enabled,
            rollover_percentage: or_empty(rollover.percentage.as_ref().map(|part| part as _)),
            timeframe_count: rollover
                .timeframe
                .map_or(String::new(), |frame| frame.count.to_string()),
            timeframe_unit: rollover.timeframe.map(|frame| frame.unit),
            max_rollover_count: or_empty(rollover.count_max.as_ref().map(|count| count as _)),
        }
    }

    fn behaviors(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let chosen = self.behavior.unwrap_or(OverageBehavior::ForgiveAtReset);
        BEHAVIORS.into_iter().map(move |(each, word)| (word, words::behavior(each), each == chosen))
    }

    fn units(&self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        let chosen = self.timeframe_unit;
        UNITS.into_iter().map(move |(each, word)| (word, words::unit(each), Some(each) == chosen))
    }
}
