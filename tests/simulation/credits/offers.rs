//! What the workload does with credits: entitlements, what products hand out of them, and entries by hand.

use quipu::engine::Command;
use quipu::engine::command::billing::{NewMeterPrice, NewPriceKind, NewRate};
use quipu::engine::command::credits::{
    CreditOverride, CreditTermsPatch, EntitlementPatch, NewAttachment, NewEntitlement,
};
use quipu::engine::command::entries::{NewEntry, NewEntryKind};
use quipu::model::credit::{CreditProration, OverageBehavior};
use quipu::model::price::{Interval, IntervalUnit, Recurrence};
use quipu::model::{
    CreditEntitlement, Credits, Currency, CustomerId, EntitlementId, Quantity, UnitPrice,
    UnitsPerCredit,
};

use crate::model::Model;
use crate::workload::Workload;

impl Workload {
    pub(crate) fn entitlement(&mut self) -> Command {
        let (name, terms) = (self.name(), self.terms());
        let precision = *self.dice.pick(&[0, 1, 2, 10]);
        let unit = "credit".to_owned();
        let new = NewEntitlement { name, description: None, unit, precision, terms };
        Command::CreateEntitlement(Box::new(new))
    }

    /// A change of an entitlement, or an entry into somebody's ledger.
    pub(crate) fn change_of_credits(&mut self, model: &Model) -> Command {
        let Some(id) = self.any_entitlement(model).map(|entitlement| entitlement.id.clone()) else {
            return self.entitlement();
        };
        match self.dice.below(12) {
            0 => self.entitlement(),
            1 => Command::DeleteEntitlement(id),
            2 | 3 => Command::UndeleteEntitlement(id),
            4 => {
                let (name, terms) = (Some(self.name()), self.terms());
                let patch = EntitlementPatch { name, terms, ..EntitlementPatch::default() };
                Command::UpdateEntitlement(id, Box::new(patch))
            }
            _ => self.entry(id, model),
        }
    }

    /// Credits that are given, or taken: of somebody who may not have so many.
    fn entry(&mut self, entitlement_id: EntitlementId, model: &Model) -> Command {
        let days = std::time::Duration::from_hours(24) * self.dice.few(9);
        let ends = self.dice.one_in(2).then(|| model.latest.plus(days));
        let kinds = [NewEntryKind::Credit { expires_at: ends }, NewEntryKind::Debit];
        let name = self.name();
        Command::EnterCredits(Box::new(NewEntry {
            entitlement_id,
            customer_id: CustomerId::new(self.customer()),
            kind: *self.dice.pick(&kinds),
            amount: whole(1 + self.dice.below(6)),
            idempotency_key: self.dice.one_in(2).then(|| name.clone()),
            reason: Some(name),
            metadata: Vec::new(),
        }))
    }

    /// A product that hands out credits, which every meter draws on.
    pub(crate) fn product_with_credits(&mut self, model: &Model) -> Command {
        let all = model.entitlements.iter().take(2);
        let credits: Vec<_> = all.map(|entitlement| self.attachment(entitlement)).collect();
        let mut price = self.price(model, &credits);
        let recurrence = Recurrence {
            payment_frequency: Interval { count: 1, unit: IntervalUnit::Day },
            subscription_period: Interval { count: 60, unit: IntervalUnit::Day },
            trial_days: 0,
        };
        let meters = match price.kind {
            NewPriceKind::UsageBased { meters, .. } => meters,
            NewPriceKind::OneTime(_) | NewPriceKind::Recurring(_) => Vec::new(),
        };
        price.kind = NewPriceKind::UsageBased { recurrence, meters };
        self.product_of(price, credits)
    }

    /// What a price hands out: of none, one or two entitlements, seldom of one that is deleted.
    pub(crate) fn attachments(&self, model: &Model) -> Vec<NewAttachment> {
        let mut attached: Vec<NewAttachment> = Vec::new();
        for _ in 0..self.dice.below(3) {
            let Some(entitlement) = self.any_entitlement(model) else { break };
            if attached.iter().all(|known| known.entitlement_id != entitlement.id) {
                attached.push(self.attachment(entitlement));
            }
        }
        attached
    }

    fn attachment(&self, entitlement: &CreditEntitlement) -> NewAttachment {
        let finest = 10_i128.pow(12 - u32::from(entitlement.precision.min(2)));
        let fine = |units: u64| Credits::from_units(i128::from(units) * finest);
        NewAttachment {
            entitlement_id: entitlement.id.clone(),
            amount: fine(1 + self.dice.below(300)),
            trial_amount: self.dice.one_in(2).then(|| fine(self.dice.below(50))),
            trial_expires: self.dice.one_in(2),
            low_balance_percent: Some(*self.dice.pick(&[0, 20, 90, 100])),
            proration: *self.dice.pick(&[CreditProration::Prorate, CreditProration::NoProrate]),
            terms: self.terms(),
        }
    }

    /// Settings of all kinds, that hold together.
    fn terms(&self) -> CreditTermsPatch {
        let behaviors = [
            OverageBehavior::ForgiveAtReset,
            OverageBehavior::InvoiceAtBilling,
            OverageBehavior::InvoiceAtBilling,
            OverageBehavior::CarryDeficit,
            OverageBehavior::CarryDeficitAutoRepay,
            OverageBehavior::CarryDeficitAutoRepay,
        ];
        let units = [IntervalUnit::Day, IntervalUnit::Week, IntervalUnit::Month];
        let timeframe =
            self.dice.one_in(2).then(|| (1 + self.dice.few(3), *self.dice.pick(&units)));
        let price =
            UnitPrice::parse(self.dice.pick::<&str>(&["3", "0.35", "0.000225"])).expect("a price");
        CreditTermsPatch {
            overage_enabled: Some(!self.dice.one_in(6)),
            overage_limit: Some(self.dice.one_in(2).then(|| whole(self.dice.below(40)))),
            overage_behavior: Some(Some(*self.dice.pick(&behaviors))),
            price_per_unit: Some(Some(price)),
            currency: Some(Currency::from_code("USD")),
            rollover_enabled: Some(!self.dice.one_in(3)),
            rollover_percentage: Some(*self.dice.pick(&[None, Some(0), Some(33), Some(100)])),
            rollover_timeframe_count: Some(timeframe.map(|(count, _)| count)),
            rollover_timeframe_unit: Some(timeframe.map(|(_, unit)| unit)),
            rollover_count_max: Some(*self.dice.pick(&[None, Some(1), Some(2)])),
            expires_after_days: Some(*self.dice.pick(&[None, Some(1), Some(7), Some(30)])),
        }
    }

    /// Lets a meter draw on what its product hands out, if there is anything and luck wants it.
    pub(crate) fn linked(&self, price: NewMeterPrice, attached: &[NewAttachment]) -> NewMeterPrice {
        if attached.is_empty() || self.dice.one_in(4) {
            return price;
        }
        let ratios = [500_000_000_000, 1_000_000_000_000, 2_000_000_000_007, 3_000_000_000_000];
        let ratio = Quantity::from_units(*self.dice.pick(&ratios));
        let ratio = UnitsPerCredit::new(ratio).expect("a ratio");
        let entitlement_id = self.dice.pick(attached).entitlement_id.clone();
        let rate = NewRate::Credits { entitlement_id, units_per_credit: ratio };
        NewMeterPrice { rate, minimum: None, maximum: None, ..price }
    }

    /// What is agreed on otherwise than the price says, if anything.
    pub(crate) fn overrides(&self, model: &Model) -> Vec<CreditOverride> {
        if !self.dice.one_in(5) {
            return Vec::new();
        }
        let entitlement = self.any_entitlement(model).into_iter();
        let agreed = entitlement.map(|entitlement| CreditOverride {
            entitlement_id: entitlement.id.clone(),
            amount: self.dice.one_in(2).then(|| whole(1 + self.dice.below(100))),
            low_balance_percent: self.dice.one_in(2).then_some(50),
            terms: self.terms(),
        });
        agreed.collect()
    }

    fn any_entitlement<'m>(&self, model: &'m Model) -> Option<&'m CreditEntitlement> {
        (!model.entitlements.is_empty()).then(|| &**self.dice.pick(&model.entitlements))
    }
}

fn whole(credits: u64) -> Credits {
    Credits::from_units(i128::from(credits) * 10_i128.pow(12))
}
