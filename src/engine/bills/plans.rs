//! What a change of plan would come to now.

use std::sync::Arc;

use super::ChangePreview;
use crate::billing::{self, Bill, Refusal};
use crate::engine::Engine;
use crate::engine::command::Refused;
use crate::engine::command::billing::{Effective, PlanChange};
use crate::engine::decide::{Quote, preview};
use crate::model::invoice::InvoiceLine;
use crate::model::{MeterId, Money, Subscription, SubscriptionId};

impl Engine {
    /// What a change of plan would come to now, from the counters alone; nothing is changed.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn preview_change(
        &self,
        id: &SubscriptionId,
        change: &PlanChange,
    ) -> Result<ChangePreview, Refused> {
        let at = self.now().max(self.shared.state.log_time());
        let Quote { before, after, proration, .. } = preview(id, change, &self.shared, at)?;
        let currency = self
            .shared
            .state
            .with_books(|books| books.price(after.terms).map(|price| price.currency));
        let currency = currency.ok_or(Refused::NotFound("product"))?;
        let (effective_at, bill, credit, after) = match change.effective {
            Effective::Now | Effective::WhenPaid => (at, proration.bill, proration.credit, after),
            Effective::NextBillingDate => {
                let turned = billing::turn(&before, self.shared.options.grace);
                let turned =
                    turned.map_err(|refusal: Refusal| Refused::Conflict(refusal.to_string()))?;
                let nothing = Bill { lines: Vec::new(), total: Money::ZERO };
                (before.cycle.next_billing_date, nothing, before.credit, turned)
            }
        };
        let usage = match change.effective {
            Effective::Now | Effective::WhenPaid => self.usage_cut(&after),
            Effective::NextBillingDate => Vec::new(),
        };
        let after = self.view(&Arc::new(after)).ok_or(Refused::NotFound("subscription"))?;
        Ok(ChangePreview { effective_at, currency, bill, credit, usage, after })
    }

    /// The lines of usage of the segment that was cut last, with the meters' ids.
    fn usage_cut(&self, subscription: &Subscription) -> Vec<(InvoiceLine, MeterId)> {
        let upcoming = self.upcoming_of(subscription);
        let cut = subscription.closing.last().and_then(|closing| {
            upcoming.into_iter().find(|item| item.period == closing.segment.period)
        });
        let lines = cut.into_iter().flat_map(|item| item.lines.into_iter().zip(item.meter_ids));
        lines.filter_map(|(line, meter)| Some((line, meter?))).collect()
    }
}
