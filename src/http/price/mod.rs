//! Prices on the wire: one-time, recurring and usage-based, told apart by `type`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::Engine;
use crate::engine::command::billing::{NewMeterPrice, NewPrice, NewPriceKind};
use crate::http::rate::{RateBody, RateInput, TierInput, TierModeWord};
use crate::http::reply::ApiError;
use crate::http::text;
use crate::model::price::{
    Interval, IntervalUnit, METERS_MAX, PayWhatYouWant, PriceKind, Recurrence,
};
use crate::model::{Currency, MeterId, Money, Price, Rate};

/// Units of an interval.
pub(crate) const COUNT_MAX: i64 = 1_000;
/// Days of a trial.
pub(crate) const TRIAL_DAYS_MAX: i64 = 10_000;
/// Hundredths of a percent in the whole.
const WHOLE_BPS: i64 = 10_000;

/// Which kind of price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PriceType)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the names are the wire format's")]
enum PriceType {
    OneTimePrice,
    RecurringPrice,
    UsageBasedPrice,
}

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TimeInterval)]
pub(crate) enum IntervalWord {
    Day,
    Week,
    Month,
    Year,
}

/// A price to be made. Amounts are in the currency's minor unit.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PriceInput)]
pub(crate) struct PriceInput {
    #[serde(rename = "type")]
    #[schema(value_type = PriceType)]
    kind: Option<PriceType>,
    #[schema(value_type = String)]
    currency: Option<String>,
    /// Of a one-time or recurring price.
    price: Option<i64>,
    /// Of a usage-based price.
    fixed_price: Option<i64>,
    /// Percent; `discount_bps` wins.
    discount: Option<i64>,
    discount_bps: Option<i64>,
    payment_frequency_count: Option<i64>,
    payment_frequency_interval: Option<IntervalWord>,
    subscription_period_count: Option<i64>,
    subscription_period_interval: Option<IntervalWord>,
    tax_inclusive: Option<bool>,
    purchasing_power_parity: Option<bool>,
    trial_period_days: Option<i64>,
    trial_amount: Option<i64>,
    /// Of a one-time price: the customer says what one costs, and `price` is the least.
    pay_what_you_want: Option<bool>,
    /// What is proposed with `pay_what_you_want`; not less than `price`.
    suggested_price: Option<i64>,
    meters: Option<Vec<MeterInput>>,
}

/// What one meter's usage is to cost.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AddMeterToPrice)]
struct MeterInput {
    #[schema(value_type = String)]
    meter_id: Option<String>,
    /// A decimal number in the minor unit: more than zero, at most 5 digits before the point and 12
    /// behind it. With `package_size` the price of a package; with `tiers` left out.
    price_per_unit: Option<String>,
    free_threshold: Option<i64>,
    /// With `tiers`, and only then.
    tier_mode: Option<TierModeWord>,
    /// 1 to 20 of them, ascending.
    tiers: Option<Vec<TierInput>>,
    /// Units of a package, at least 1; a package that was begun is paid whole.
    package_size: Option<i64>,
    /// What a period costs at least, in the currency's minor unit, even without usage.
    minimum_amount: Option<i64>,
    /// What a period costs at most; not less than the minimum.
    maximum_amount: Option<i64>,
    /// One of the product's `credit_entitlements`, which units draw on in place of any price.
    credit_entitlement_id: Option<String>,
    /// With `credit_entitlement_id`, and only then: a decimal number, more than zero, at most 15 digits
    /// before the point and 12 behind it.
    meter_units_per_credit: Option<String>,
}

impl PriceInput {
    /// The price, every field checked; what depends on meters is not.
    ///
    /// # Errors
    /// 422 that names the field, as a path from the body
    pub(crate) fn into_new(self) -> Result<NewPrice, ApiError> {
        let kind = self.kind.ok_or_else(|| ApiError::missing("price.type"))?;
        self.refuse_what_is_not_offered(kind)?;
        let (currency, discount_bps) = (self.currency()?, self.discount_bps()?);
        let fixed = match kind {
            PriceType::OneTimePrice | PriceType::RecurringPrice => {
                amount("price.price", self.price)?
            }
            PriceType::UsageBasedPrice => amount("price.fixed_price", self.fixed_price)?,
        };
        let kind_of_price = match kind {
            PriceType::OneTimePrice => {
                NewPriceKind::OneTime(self.pay_what_you_want(fixed, discount_bps)?)
            }
            PriceType::RecurringPrice => NewPriceKind::Recurring(self.recurrence()?),
            PriceType::UsageBasedPrice => {
                let recurrence = Recurrence { trial_days: 0, ..self.recurrence()? };
                let meters = meters(self.meters.unwrap_or_default())?;
                return Ok(NewPrice {
                    currency,
                    fixed,
                    discount_bps,
                    tax_inclusive: self.tax_inclusive.unwrap_or(false),
                    purchasing_power_parity: self.purchasing_power_parity.unwrap_or(false),
                    kind: NewPriceKind::UsageBased { recurrence, meters },
                });
            }
        };
        if self.meters.is_some_and(|meters| !meters.is_empty()) {
            return Err(invalid("price.meters", "only a usage_based_price has meters"));
        }
        Ok(NewPrice {
            currency,
            fixed,
            discount_bps,
            tax_inclusive: self.tax_inclusive.unwrap_or(false),
            purchasing_power_parity: self.purchasing_power_parity.unwrap_or(false),
            kind: kind_of_price,
        })
    }

    /// Whether the customer says what one costs. Without it a suggested price means nothing.
    fn pay_what_you_want(
        &self,
        least: Money,
        discount_bps: u16,
    ) -> Result<Option<PayWhatYouWant>, ApiError> {
        if self.pay_what_you_want != Some(true) {
            return Ok(None);
        }
        if discount_bps > 0 {
            let message = "nothing is taken off what the customer wants to pay";
            return Err(invalid("price.discount_bps", message));
        }
        let suggested = self.suggested_price.map(Money::from_minor);
        if suggested.is_some_and(|suggested| suggested < least) {
            return Err(invalid("price.suggested_price", "must not be less than the price"));
        }
        Ok(Some(PayWhatYouWant { suggested }))
    }

    fn refuse_what_is_not_offered(&self, kind: PriceType) -> Result<(), ApiError> {
        if self.pay_what_you_want == Some(true) && kind != PriceType::OneTimePrice {
            let message = "only a one_time_price is what the customer wants to pay";
            return Err(invalid("price.pay_what_you_want", message));
        }
        if self.trial_amount.is_some_and(|amount| amount != 0) {
            return Err(invalid("price.trial_amount", "a trial costs nothing"));
        }
        Ok(())
    }

    fn currency(&self) -> Result<Currency, ApiError> {
        let code = self.currency.as_deref().ok_or_else(|| ApiError::missing("price.currency"))?;
        currency("price.currency", code)
    }

    fn discount_bps(&self) -> Result<u16, ApiError> {
        let (field, bps) = match (self.discount_bps, self.discount) {
            (Some(bps), _) => ("price.discount_bps", bps),
            (None, percent) => ("price.discount", percent.unwrap_or(0).saturating_mul(100)),
        };
        if !(0..=WHOLE_BPS).contains(&bps) {
            return Err(invalid(field, "a discount is from nothing to the whole price"));
        }
        // Fits: it is at most 10,000.
        Ok(u16::try_from(bps).unwrap_or(0))
    }

    fn recurrence(&self) -> Result<Recurrence, ApiError> {
        let payment_frequency = interval(
            "price.payment_frequency",
            self.payment_frequency_count,
            self.payment_frequency_interval,
        )?;
        let subscription_period = interval(
            "price.subscription_period",
            self.subscription_period_count,
            self.subscription_period_interval,
        )?;
        if days_max(subscription_period) < days_min(payment_frequency) {
            let message = "a subscription lasts at least one cycle";
            return Err(invalid("price.subscription_period_count", message));
        }
        let trial_days = trial_days("price.trial_period_days", self.trial_period_days)?;
        Ok(Recurrence {
            payment_frequency,
            subscription_period,
            trial_days: trial_days.unwrap_or(0),
        })
    }
}

fn meters(inputs: Vec<MeterInput>) -> Result<Vec<NewMeterPrice>, ApiError> {
    if inputs.len() > METERS_MAX {
        return Err(invalid("price.meters", &format!("a price has at most {METERS_MAX} meters")));
    }
    let mut meters: Vec<NewMeterPrice> = Vec::with_capacity(inputs.len());
    for (place, input) in inputs.into_iter().enumerate() {
        let field = |name: &str| format!("price.meters.{place}.{name}");
        let meter_id = MeterId::new(text::id(&field("meter_id"), input.meter_id)?);
        if meters.iter().any(|meter| meter.meter_id == meter_id) {
            return Err(invalid(&field("meter_id"), "this meter stands twice"));
        }
        let free_threshold = u64::try_from(input.free_threshold.unwrap_or(0))
            .map_err(|_negative| invalid(&field("free_threshold"), "must not be negative"))?;
        let rate = RateInput {
            price_per_unit: input.price_per_unit,
            tier_mode: input.tier_mode,
            tiers: input.tiers,
            package_size: input.package_size,
            minimum_amount: input.minimum_amount,
            maximum_amount: input.maximum_amount,
            credit_entitlement_id: input.credit_entitlement_id,
            meter_units_per_credit: input.meter_units_per_credit,
        };
        let path = format!("price.meters.{place}");
        let (minimum, maximum) = rate.bounds(&path)?;
        let rate = rate.into_rate(&path)?;
        meters.push(NewMeterPrice { meter_id, rate, free_threshold, minimum, maximum });
    }
    Ok(meters)
}

fn amount(field: &str, units: Option<i64>) -> Result<Money, ApiError> {
    let units = units.ok_or_else(|| ApiError::missing(field))?;
    if units < 0 {
        return Err(invalid(field, "must not be negative"));
    }
    Ok(Money::from_minor(units))
}

/// The currency with this code.
///
/// # Errors
/// 422 that names `field`
pub(crate) fn currency(field: &str, code: &str) -> Result<Currency, ApiError> {
    Currency::from_code(code)
        .ok_or_else(|| invalid(field, "must be the code of a currency such as USD"))
}

/// The length that `<field>_count` and `<field>_interval` give.
///
/// # Errors
/// 422 that names the field
pub(crate) fn interval(
    field: &str,
    count: Option<i64>,
    unit: Option<IntervalWord>,
) -> Result<Interval, ApiError> {
    let (of_count, of_unit) = (format!("{field}_count"), format!("{field}_interval"));
    let count = count.ok_or_else(|| ApiError::missing(&of_count))?;
    let unit = unit.ok_or_else(|| ApiError::missing(&of_unit))?;
    if !(1..=COUNT_MAX).contains(&count) {
        return Err(invalid(&of_count, &format!("must be from 1 to {COUNT_MAX}")));
    }
    // Fits: it is at most 1,000.
    Ok(Interval { count: u32::try_from(count).unwrap_or(1), unit: unit.into() })
}

/// Days of a trial.
///
/// # Errors
/// 422 that names `field`
pub(crate) fn trial_days(field: &str, days: Option<i64>) -> Result<Option<u32>, ApiError> {
    let Some(days) = days else { return Ok(None) };
    if !(0..=TRIAL_DAYS_MAX).contains(&days) {
        return Err(invalid(field, &format!("must be from 0 to {TRIAL_DAYS_MAX}")));
    }
    Ok(u32::try_from(days).ok())
}

fn invalid(field: &str, message: &str) -> ApiError {
    ApiError::invalid(field, format!("{field}: {message}"))
}

/// The most and the fewest days that an interval can have.
fn days_max(interval: Interval) -> u32 {
    interval.count * days(interval.unit, 31, 366)
}

fn days_min(interval: Interval) -> u32 {
    interval.count * days(interval.unit, 28, 365)
}

fn days(unit: IntervalUnit, month: u32, year: u32) -> u32 {
    match unit {
        IntervalUnit::Day => 1,
        IntervalUnit::Week => 7,
        IntervalUnit::Month => month,
        IntervalUnit::Year => year,
    }
}

impl From<IntervalWord> for IntervalUnit {
    fn from(word: IntervalWord) -> Self {
        match word {
            IntervalWord::Day => Self::Day,
            IntervalWord::Week => Self::Week,
            IntervalWord::Month => Self::Month,
            IntervalWord::Year => Self::Year,
        }
    }
}

impl From<IntervalUnit> for IntervalWord {
    fn from(unit: IntervalUnit) -> Self {
        match unit {
            IntervalUnit::Day => Self::Day,
            IntervalUnit::Week => Self::Week,
            IntervalUnit::Month => Self::Month,
            IntervalUnit::Year => Self::Year,
        }
    }
}

/// A price. Amounts are in the currency's minor unit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Price)]
pub(crate) struct PriceBody {
    #[serde(rename = "type")]
    kind: PriceType,
    currency: String,
    discount: u16,
    discount_bps: u16,
    purchasing_power_parity: bool,
    tax_inclusive: bool,
    /// Of a one-time or recurring price.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<i64>,
    /// Of a usage-based price.
    #[serde(skip_serializing_if = "Option::is_none")]
    fixed_price: Option<i64>,
    #[serde(flatten)]
    recurrence: Option<RecurrenceBody>,
    #[serde(flatten)]
    one_time: Option<OneTimeBody>,
    #[serde(flatten)]
    recurring: Option<RecurringBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meters: Option<Vec<MeterBody>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PriceRecurrence)]
struct RecurrenceBody {
    payment_frequency_count: u32,
    payment_frequency_interval: IntervalWord,
    subscription_period_count: u32,
    subscription_period_interval: IntervalWord,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PriceOneTime)]
struct OneTimeBody {
    pay_what_you_want: bool,
    suggested_price: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PriceRecurring)]
struct RecurringBody {
    trial_period_days: u32,
    trial_amount: Option<i64>,
    trial_apply_discounts: Option<bool>,
    trial_payment_method_optional: Option<bool>,
    zero_amount_payment_method_optional: Option<bool>,
}

/// What one meter's usage costs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PriceMeter)]
struct MeterBody {
    meter_id: String,
    name: String,
    description: Option<String>,
    measurement_unit: String,
    /// `null` with `tiers`, and when it is paid in credits.
    price_per_unit: Option<String>,
    free_threshold: u64,
    #[serde(flatten)]
    rate: RateBody,
    /// What units draw on; `null` when they have a price.
    credit_entitlement_id: Option<String>,
    meter_units_per_credit: Option<String>,
}

impl PriceBody {
    /// The price as it is printed.
    pub(crate) fn new(price: &Price, engine: &Engine) -> Self {
        let units = price.fixed.as_minor();
        let kind = match price.kind {
            PriceKind::OneTime(_) => PriceType::OneTimePrice,
            PriceKind::Recurring(_) => PriceType::RecurringPrice,
            PriceKind::UsageBased { .. } => PriceType::UsageBasedPrice,
        };
        let is_usage = kind == PriceType::UsageBasedPrice;
        Self {
            kind,
            currency: price.currency.to_string(),
            discount: price.discount_bps / 100,
            discount_bps: price.discount_bps,
            purchasing_power_parity: price.purchasing_power_parity,
            tax_inclusive: price.tax_inclusive,
            price: (!is_usage).then_some(units),
            fixed_price: is_usage.then_some(units),
            recurrence: price.recurrence().map(RecurrenceBody::from),
            one_time: match price.kind {
                PriceKind::OneTime(choice) => Some(OneTimeBody {
                    pay_what_you_want: choice.is_some(),
                    suggested_price: choice
                        .and_then(|choice| choice.suggested)
                        .map(Money::as_minor),
                }),
                PriceKind::Recurring(_) | PriceKind::UsageBased { .. } => None,
            },
            recurring: match price.kind {
                PriceKind::Recurring(recurrence) => Some(RecurringBody {
                    trial_period_days: recurrence.trial_days,
                    trial_amount: None,
                    trial_apply_discounts: None,
                    trial_payment_method_optional: None,
                    zero_amount_payment_method_optional: None,
                }),
                PriceKind::OneTime(_) | PriceKind::UsageBased { .. } => None,
            },
            meters: is_usage.then(|| meter_bodies(price, engine)),
        }
    }
}

fn meter_bodies(price: &Price, engine: &Engine) -> Vec<MeterBody> {
    let priced = price.meters().iter();
    let bodies = priced.filter_map(|priced| {
        let meter = engine.meter_at(priced.meter)?;
        let link = priced.rate.credits();
        Some(MeterBody {
            meter_id: meter.id.as_str().to_owned(),
            name: meter.name,
            description: meter.description,
            measurement_unit: meter.measurement_unit,
            price_per_unit: match &priced.rate {
                Rate::PerUnit(price) | Rate::Package { price, .. } => Some(price.to_string()),
                Rate::Tiered { .. } | Rate::Credits(_) => None,
            },
            free_threshold: priced.free_threshold,
            rate: RateBody::new(priced),
            credit_entitlement_id: link
                .and_then(|link| engine.entitlement_id(link.entitlement))
                .map(|id| id.as_str().to_owned()),
            meter_units_per_credit: link.map(|link| link.units_per_credit.to_string()),
        })
    });
    bodies.collect()
}

impl From<&Recurrence> for RecurrenceBody {
    fn from(recurrence: &Recurrence) -> Self {
        Self {
            payment_frequency_count: recurrence.payment_frequency.count,
            payment_frequency_interval: recurrence.payment_frequency.unit.into(),
            subscription_period_count: recurrence.subscription_period.count,
            subscription_period_interval: recurrence.subscription_period.unit.into(),
        }
    }
}

#[cfg(test)]
mod tests;
