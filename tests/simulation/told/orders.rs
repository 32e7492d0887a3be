//! What clients do with webhook endpoints, and what becomes of deliveries.

use quipu::engine::Command;
use quipu::engine::command::alerts::{NewAlert, NewThreshold};
use quipu::engine::command::webhooks::{EndpointPatch, NewEndpoint, WebhookCommand};
use quipu::engine::outbox::pump::Delivery;
use quipu::engine::outbox::settle::{Attempt, Next};
use quipu::model::{
    Credits, Currency, CustomerId, EndpointId, EventType, Money, Quantity, Timestamp,
};

use crate::model::Model;
use crate::workload::{PRICED, Workload};

/// Endpoints of a life at once.
const ENDPOINTS: usize = 4;

impl Workload {
    /// Something about webhooks or alerts.
    pub(crate) fn hook(&mut self, model: &Model) -> Command {
        if self.dice.one_in(3) { self.alert(model) } else { self.webhook(model) }
    }

    /// An alert on anything, of anybody; some are deleted.
    fn alert(&mut self, model: &Model) -> Command {
        let known: Vec<_> = model.alerts.values().filter(|known| !known.deleted).collect();
        if !known.is_empty() && self.dice.one_in(6) {
            return Command::DeleteAlert(self.dice.pick(&known).id.clone());
        }
        let meter_id = self.dice.pick(&model.meters[..PRICED]).id.clone();
        let threshold = match self.dice.below(4) {
            0 | 1 => {
                let at_least = Quantity::from_count(1 + self.dice.below(60));
                NewThreshold::Usage { meter_id, at_least }
            }
            2 => NewThreshold::Cost {
                meter_id,
                currency: Currency::from_code("USD").expect("a currency"),
                at_least: Money::from_minor(self.dice.within(1..9)),
            },
            _ => NewThreshold::Balance {
                entitlement_id: self.dice.pick(&model.entitlements).id.clone(),
                at_most: Credits::from_units(i128::from(self.dice.below(200)) * 10_i128.pow(11)),
            },
        };
        let customer_id = self.dice.one_in(2).then(|| CustomerId::new(self.customer()));
        Command::CreateAlert(Box::new(NewAlert { name: Some(self.name()), threshold, customer_id }))
    }

    /// A change of an endpoint, or something that one asks for.
    pub(crate) fn webhook(&mut self, model: &Model) -> Command {
        let known: Vec<_> = model.endpoints.values().filter(|known| !known.deleted).collect();
        let description = self.name();
        let command = if known.is_empty() || (known.len() < ENDPOINTS && self.dice.one_in(3)) {
            WebhookCommand::Create(NewEndpoint {
                url: "https://example.org/hooks".to_owned(),
                description,
                disabled: self.dice.one_in(8),
                filter: self.filter(),
                headers: Vec::new(),
                metadata: Vec::new(),
                rate_limit: None,
            })
        } else {
            let id = self.dice.pick(&known).id.clone();
            self.webhook_change(model, id, description)
        };
        Command::Webhook(Box::new(command))
    }

    fn webhook_change(&self, model: &Model, id: EndpointId, description: String) -> WebhookCommand {
        match self.dice.below(10) {
            0 => WebhookCommand::Delete(id),
            1 => WebhookCommand::RotateSecret(id),
            2 => WebhookCommand::SetHeaders(id, vec![("x-life".to_owned(), Some(description))]),
            3..6 => WebhookCommand::Test(id),
            6 | 7 => {
                let tried = model.credits.outbox.tried(&id);
                if tried.is_empty() {
                    return WebhookCommand::Test(id);
                }
                WebhookCommand::Requeue(id, vec![*self.dice.pick(&tried)])
            }
            _ => {
                let description = Some(description);
                let disabled = self.dice.one_in(2).then(|| self.dice.one_in(3));
                let filter = self.dice.one_in(2).then(|| self.filter());
                let patch = EndpointPatch { description, disabled, filter, ..Default::default() };
                WebhookCommand::Update(id, patch)
            }
        }
    }

    /// Everything, or half of what can occur.
    fn filter(&self) -> Option<Vec<EventType>> {
        self.dice.one_in(2).then(|| {
            let some = EventType::ALL.iter().filter(|_| self.dice.one_in(2));
            some.copied().collect()
        })
    }
}

/// What becomes of a delivery that is tried at `now`.
pub(crate) fn attempt_of(delivery: &Delivery, now: Timestamp, fails: bool) -> Attempt {
    let next = if fails { Next::after_failure(delivery.number, now) } else { Next::Delivered };
    Attempt {
        message: delivery.id,
        event_type: delivery.notice.event_type,
        number: delivery.number,
        due: delivery.due,
        at: now,
        took_ms: 1,
        status: Some(if fails { 500 } else { 200 }),
        error: None,
        answer: "so".to_owned(),
        next,
    }
}
