//! What a change of alerts leaves behind.

use std::sync::Arc;

use crate::engine::command::Refused;
use crate::engine::command::alerts::{NewAlert, NewThreshold};
use crate::engine::shared::Shared;
use crate::model::alert::Threshold;
use crate::model::{
    Alert, AlertId, CustomerId, EntitlementId, EntitlementIndex, MeterId, MeterIndex,
};

use super::Moment;

/// Alerts at most. A checkpoint writes them at once, with the catalogue.
const ALERTS_MAX: usize = 10_000;
/// Alerts on one meter or entitlement for one customer, or for all: each is looked at whenever a counter
/// moves.
const ON_ONE_MAX: usize = 100;

pub(super) fn create(new: &NewAlert, moment: Moment<'_>) -> Result<Arc<Alert>, Refused> {
    let Moment { shared, at, .. } = moment;
    let customer = match &new.customer_id {
        None => None,
        Some(id) => Some(customer(id, shared)?),
    };
    let threshold = match &new.threshold {
        NewThreshold::Usage { meter_id, at_least } => {
            Threshold::Usage { meter: meter(meter_id, shared)?, at_least: *at_least }
        }
        NewThreshold::Cost { meter_id, currency, at_least } => Threshold::Cost {
            meter: meter(meter_id, shared)?,
            currency: *currency,
            at_least: *at_least,
        },
        NewThreshold::Balance { entitlement_id, at_most } => Threshold::Balance {
            entitlement: entitlement(entitlement_id, shared)?,
            at_most: *at_most,
        },
    };
    let watched = threshold.watched();
    let (all, on_one, index) = shared
        .state
        .with_alerts(|alerts| (alerts.len(), alerts.count_on(watched, customer), alerts.next()));
    if all >= ALERTS_MAX {
        return Err(Refused::Conflict(format!("there are {ALERTS_MAX} alerts already")));
    }
    if on_one >= ON_ONE_MAX {
        return Err(Refused::Conflict(format!(
            "there are {ON_ONE_MAX} alerts on this already, for the same customer or for all"
        )));
    }
    Ok(Arc::new(Alert {
        id: AlertId::new(moment.new_id("alr")),
        index,
        name: new.name.clone(),
        threshold,
        customer,
        created_at: at,
        deleted: false,
    }))
}

pub(super) fn delete(id: &AlertId, shared: &Shared) -> Result<Arc<Alert>, Refused> {
    let found = shared.state.with_alerts(|alerts| alerts.by_id(id).cloned());
    let found = found.ok_or(Refused::NotFound("alert"))?;
    Ok(Arc::new(Alert { deleted: true, ..Alert::clone(&found.alert) }))
}

fn customer(id: &CustomerId, shared: &Shared) -> Result<crate::model::CustomerIndex, Refused> {
    let found = shared.state.with_accounts(|accounts| accounts.index(id.as_str()));
    found.ok_or_else(|| unknown("customer_id", "this customer does not exist"))
}

fn meter(id: &MeterId, shared: &Shared) -> Result<MeterIndex, Refused> {
    let catalogue = shared.state.catalogue();
    let found = catalogue.meter(id);
    let found = found.ok_or_else(|| unknown("meter_id", "this meter does not exist"))?;
    if found.archived {
        return Err(unknown("meter_id", "this meter is archived and counts nothing"));
    }
    Ok(found.index)
}

fn entitlement(id: &EntitlementId, shared: &Shared) -> Result<EntitlementIndex, Refused> {
    let found = shared.state.with_books(|books| books.entitlements.by_id(id).cloned());
    let found = found.filter(|entitlement| !entitlement.deleted);
    let field = "credit_entitlement_id";
    let found = found.ok_or_else(|| unknown(field, "this credit entitlement does not exist"))?;
    Ok(found.index)
}

fn unknown(field: &str, message: &str) -> Refused {
    Refused::Invalid { field: field.to_owned(), message: message.to_owned() }
}
