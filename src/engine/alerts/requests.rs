//! What requests see of alerts.

use std::sync::Arc;

use crate::engine::alerts::KeptAlert;
use crate::engine::{Engine, Page};
use crate::model::alert::Watched;
use crate::model::{Alert, AlertId, CustomerId, EntitlementId, MeterId};

/// An alert with the ids of what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertView {
    /// The alert, and how often it has fired.
    pub kept: KeptAlert,
    /// The meter, of usage and its cost.
    pub meter_id: Option<MeterId>,
    /// The entitlement, of a balance.
    pub entitlement_id: Option<EntitlementId>,
    /// Whom it is for, when not for all.
    pub customer_id: Option<CustomerId>,
}

/// Which alerts a list asks for; every given field must match.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    /// On this meter.
    pub meter_id: Option<MeterId>,
    /// On balances of this entitlement.
    pub entitlement_id: Option<EntitlementId>,
    /// For this customer alone.
    pub customer_id: Option<CustomerId>,
}

impl Engine {
    /// The alert with this id.
    pub fn alert(&self, id: &AlertId) -> Option<AlertView> {
        let kept = self.shared.state.with_alerts(|alerts| alerts.by_id(id).cloned())?;
        Some(self.alert_view(kept))
    }

    /// Alerts, newest first.
    pub fn alerts(&self, filter: &AlertFilter, page: Page) -> Vec<AlertView> {
        let all: Vec<KeptAlert> =
            self.shared.state.with_alerts(|alerts| alerts.all().rev().cloned().collect());
        let views = all.into_iter().map(|kept| self.alert_view(kept)).filter(|view| {
            (filter.meter_id.is_none() || filter.meter_id == view.meter_id)
                && (filter.entitlement_id.is_none() || filter.entitlement_id == view.entitlement_id)
                && (filter.customer_id.is_none() || filter.customer_id == view.customer_id)
        });
        views.skip(page.offset).take(page.limit).collect()
    }

    /// An alert that was just made.
    pub fn new_alert_view(&self, alert: Arc<Alert>) -> AlertView {
        let known = self.shared.state.with_alerts(|alerts| alerts.by_id(&alert.id).cloned());
        let new = KeptAlert { alert, fired_count: 0, last_fired_at: None };
        self.alert_view(known.unwrap_or(new))
    }

    /// An alert with the ids of what it names.
    fn alert_view(&self, kept: KeptAlert) -> AlertView {
        let state = &self.shared.state;
        let alert = &kept.alert;
        let customer_id = alert
            .customer
            .and_then(|customer| state.with_accounts(|accounts| accounts.id_at(customer).cloned()));
        let (meter_id, entitlement_id) = match alert.threshold.watched() {
            Watched::Meter(meter) => {
                let catalogue = state.catalogue();
                (catalogue.meters().get(meter.position()).map(|meter| meter.id.clone()), None)
            }
            Watched::Entitlement(entitlement) => (None, self.entitlement_id(entitlement)),
        };
        AlertView { kept, meter_id, entitlement_id, customer_id }
    }
}
