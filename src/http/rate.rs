//! What usage costs, on the wire: a price of each unit or package, or tiers; and bounds.
//!
//! Only `price_per_unit` is Dodo's. The other members are left out where there is nothing to say.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::billing;
use crate::engine::command::billing::NewRate;
use crate::http::reply::ApiError;
use crate::http::text;
use crate::model::invoice::UsageLine;
use crate::model::price::MeterPrice;
use crate::model::rate::{TIERS_MAX, Tier, TierMode, TierShare};
use crate::model::{
    EntitlementId, EntitlementIndex, Money, Number, Quantity, Rate, UnitPrice, UnitsPerCredit, Used,
};

/// Digits behind the point of a tier's end.
const FRACTION_DIGITS_MAX: usize = 12;

/// Where the id of an entitlement is looked up.
pub(crate) type EntitlementIds<'a> = &'a dyn Fn(EntitlementIndex) -> Option<EntitlementId>;

/// Which units a tier's price is for: those in the tier, or all when the last one falls into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TierMode)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TierModeWord {
    Graduated,
    Volume,
}

/// A tier to be made: the units behind the end of the tier before, up to its own end.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PriceTierInput)]
pub(crate) struct TierInput {
    /// Its end as a decimal number: more than that of the tier before; `null` in the last alone. At
    /// most 15 digits before the point and 12 behind it.
    up_to: Option<String>,
    /// Of one unit, as `price_per_unit` of a meter; `"0"` for nothing.
    #[schema(value_type = String)]
    price_per_unit: Option<String>,
    /// Due once a period when a unit falls into the tier, in the currency's minor unit; 0 by default.
    flat_fee: Option<i64>,
}

/// What a client says about the cost of a meter's usage.
#[derive(Debug, Default)]
pub(crate) struct RateInput {
    pub(crate) price_per_unit: Option<String>,
    pub(crate) tier_mode: Option<TierModeWord>,
    pub(crate) tiers: Option<Vec<TierInput>>,
    pub(crate) package_size: Option<i64>,
    pub(crate) minimum_amount: Option<i64>,
    pub(crate) maximum_amount: Option<i64>,
    pub(crate) credit_entitlement_id: Option<String>,
    pub(crate) meter_units_per_credit: Option<String>,
}

impl RateInput {
    /// The least and the most that a period costs.
    ///
    /// # Errors
    /// 422 that names a member of `path`
    pub(crate) fn bounds(&self, path: &str) -> Result<(Option<Money>, Option<Money>), ApiError> {
        let minimum = amount(path, "minimum_amount", self.minimum_amount)?;
        let maximum = amount(path, "maximum_amount", self.maximum_amount)?;
        if let (Some(minimum), Some(maximum)) = (minimum, maximum)
            && maximum < minimum
        {
            return Err(invalid(path, "maximum_amount", "must not be less than minimum_amount"));
        }
        Ok((minimum, maximum))
    }

    /// What units cost.
    ///
    /// # Errors
    /// 422 that names a member of `path`
    pub(crate) fn into_rate(self, path: &str) -> Result<NewRate, ApiError> {
        if self.credit_entitlement_id.is_some() {
            return self.into_credits(path);
        }
        if self.meter_units_per_credit.is_some() {
            return Err(ApiError::missing(&format!("{path}.credit_entitlement_id")));
        }
        self.into_money(path).map(NewRate::Money)
    }

    /// The credits that units draw on, and no price.
    fn into_credits(self, path: &str) -> Result<NewRate, ApiError> {
        let prices = [
            ("price_per_unit", self.price_per_unit.is_some()),
            ("tier_mode", self.tier_mode.is_some()),
            ("tiers", self.tiers.is_some()),
            ("package_size", self.package_size.is_some()),
            ("minimum_amount", self.minimum_amount.is_some()),
            ("maximum_amount", self.maximum_amount.is_some()),
        ];
        if let Some((name, _)) = prices.iter().find(|(_, is_given)| *is_given) {
            return Err(invalid(path, name, "what is paid in credits has no price"));
        }
        let entitlement_id =
            text::id(&format!("{path}.credit_entitlement_id"), self.credit_entitlement_id)?;
        let name = "meter_units_per_credit";
        let units = self
            .meter_units_per_credit
            .ok_or_else(|| ApiError::missing(&format!("{path}.{name}")))?;
        let units = decimal(&units).map_err(|message| invalid(path, name, message))?;
        let units_per_credit = UnitsPerCredit::new(units)
            .ok_or_else(|| invalid(path, name, "must be more than zero and below 10^14"))?;
        let entitlement_id = EntitlementId::new(entitlement_id);
        Ok(NewRate::Credits { entitlement_id, units_per_credit })
    }

    fn into_money(self, path: &str) -> Result<Rate, ApiError> {
        if let Some(tiers) = self.tiers {
            if self.price_per_unit.is_some() {
                return Err(invalid(path, "price_per_unit", "each of the tiers has its own"));
            }
            if self.package_size.is_some() {
                return Err(invalid(path, "package_size", "tiers have no packages"));
            }
            let mode =
                self.tier_mode.ok_or_else(|| ApiError::missing(&format!("{path}.tier_mode")))?;
            return Ok(Rate::Tiered { mode: mode.into(), tiers: read_tiers(path, &tiers)? });
        }
        if self.tier_mode.is_some() {
            return Err(invalid(path, "tier_mode", "this needs tiers"));
        }
        let text = self
            .price_per_unit
            .ok_or_else(|| ApiError::missing(&format!("{path}.price_per_unit")))?;
        let price = UnitPrice::parse(&text);
        let price = price.map_err(|error| invalid(path, "price_per_unit", &error.to_string()))?;
        let Some(size) = self.package_size else { return Ok(Rate::PerUnit(price)) };
        match u64::try_from(size) {
            Ok(size @ 1..) => Ok(Rate::Package { size, price }),
            Ok(0) | Err(_) => Err(invalid(path, "package_size", "must be at least 1")),
        }
    }
}

fn read_tiers(path: &str, inputs: &[TierInput]) -> Result<Vec<Tier>, ApiError> {
    if inputs.is_empty() || inputs.len() > TIERS_MAX {
        return Err(invalid(path, "tiers", &format!("must be from 1 to {TIERS_MAX} tiers")));
    }
    let mut start = Quantity::ZERO;
    let mut tiers = Vec::with_capacity(inputs.len());
    for (place, input) in inputs.iter().enumerate() {
        let path = format!("{path}.tiers.{place}");
        let is_last = place + 1 == inputs.len();
        let up_to = match &input.up_to {
            Some(_) if is_last => {
                return Err(invalid(&path, "up_to", "must be null: the last tier has no end"));
            }
            None if !is_last => {
                return Err(invalid(&path, "up_to", "is missing: only the last tier has no end"));
            }
            None => None,
            Some(text) => Some(end(&path, text, start)?),
        };
        start = up_to.unwrap_or(start);
        let text = input.price_per_unit.as_deref();
        let text = text.ok_or_else(|| ApiError::missing(&format!("{path}.price_per_unit")))?;
        let price_per_unit = UnitPrice::parse_or_free(text)
            .map_err(|error| invalid(&path, "price_per_unit", &error.to_string()))?;
        let flat_fee = amount(&path, "flat_fee", input.flat_fee)?.unwrap_or(Money::ZERO);
        tiers.push(Tier { up_to, price_per_unit, flat_fee });
    }
    Ok(tiers)
}

/// Where a tier ends that begins at `start`.
fn end(path: &str, text: &str, start: Quantity) -> Result<Quantity, ApiError> {
    let refusal = |message: &str| invalid(path, "up_to", message);
    let end = decimal(text).map_err(refusal)?;
    if end <= start {
        return Err(refusal("must be more than the end of the tier before, and more than zero"));
    }
    Ok(end)
}

/// A number of units that is exact as it is written, or what is wrong with it.
fn decimal(text: &str) -> Result<Quantity, &'static str> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = Number::new(text).filter(|_| is_plain);
    let number = number.ok_or("must be a decimal number such as 1000 or 0.5")?;
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let is_exact = fraction.trim_end_matches('0').len() <= FRACTION_DIGITS_MAX;
    let quantity = number.to_quantity().ok().filter(|_| is_exact);
    quantity.ok_or("has more than 15 digits before or 12 behind the point")
}

fn amount(path: &str, name: &str, units: Option<i64>) -> Result<Option<Money>, ApiError> {
    match units {
        Some(units) if units < 0 => Err(invalid(path, name, "must not be negative")),
        Some(units) => Ok(Some(Money::from_minor(units))),
        None => Ok(None),
    }
}

fn invalid(path: &str, name: &str, message: &str) -> ApiError {
    ApiError::invalid(&format!("{path}.{name}"), format!("{path}.{name}: {message}"))
}

/// What a meter's usage costs besides a price of each unit.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = MeterRate)]
pub(crate) struct RateBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    tier_mode: Option<TierModeWord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tiers: Option<Vec<TierBody>>,
    /// Units of a package; `price_per_unit` is the price of one that was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    package_size: Option<u64>,
    /// What a period costs at least, in the currency's minor unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_amount: Option<i64>,
    /// What a period costs at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_amount: Option<i64>,
}

/// The units behind the end of the tier before, up to its own end.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = PriceTier)]
struct TierBody {
    /// `null` in the last.
    up_to: Option<String>,
    price_per_unit: String,
    flat_fee: i64,
}

/// How a line's amount came about, as far as it is more than units at a price.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = LineRate)]
pub(crate) struct LineRateBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    tier_mode: Option<TierModeWord>,
    /// The tiers that have some of the chargeable units.
    #[serde(skip_serializing_if = "Option::is_none")]
    tiers: Option<Vec<LineTierBody>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    package_size: Option<u64>,
    /// Packages that the chargeable units begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    packages: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_amount: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_amount: Option<i64>,
    /// Of a meter that is paid in credits, which costs no money.
    #[serde(skip_serializing_if = "Option::is_none")]
    credit_entitlement_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meter_units_per_credit: Option<String>,
    /// Of a period that is billed in several parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    earlier_in_period: Option<EarlierBody>,
}

/// What one tier has of a line.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = LineTier)]
struct LineTierBody {
    up_to: Option<String>,
    units: String,
    price_per_unit: String,
    /// 0 when an earlier line of the period has it.
    flat_fee: i64,
}

/// What earlier parts of a period have used and billed of the meter.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = EarlierUsage)]
struct EarlierBody {
    /// Of a count or a sum.
    consumed_units: String,
    /// The most that usage was at the end of a part: of a count or a sum free units and tiers go on from there.
    highest_units: String,
    charged_units: String,
    /// In the currency's minor unit.
    amount: i64,
}

impl RateBody {
    /// What a price says of a meter.
    pub(crate) fn new(price: &MeterPrice) -> Self {
        let (tier_mode, tiers) = match &price.rate {
            Rate::PerUnit(_) | Rate::Package { .. } | Rate::Credits(_) => (None, None),
            Rate::Tiered { mode, tiers } => {
                (Some((*mode).into()), Some(tiers.iter().map(TierBody::from).collect()))
            }
        };
        Self {
            tier_mode,
            tiers,
            package_size: package_size(&price.rate),
            minimum_amount: price.minimum.map(Money::as_minor),
            maximum_amount: price.maximum.map(Money::as_minor),
        }
    }
}

impl LineRateBody {
    /// What a line was reckoned from.
    pub(crate) fn new(usage: &UsageLine, ids: EntitlementIds<'_>) -> Self {
        let (tier_mode, tiers) = match &usage.rate {
            Rate::PerUnit(_) | Rate::Package { .. } | Rate::Credits(_) => (None, None),
            Rate::Tiered { mode, .. } => {
                (Some((*mode).into()), Some(usage.shares.iter().map(LineTierBody::from).collect()))
            }
        };
        let link = usage.rate.credits();
        let is_first = usage.used == Used::default();
        Self {
            tier_mode,
            tiers,
            package_size: package_size(&usage.rate),
            packages: packages(usage).map(|packages| packages.to_string()),
            minimum_amount: usage.minimum.map(Money::as_minor),
            maximum_amount: usage.maximum.map(Money::as_minor),
            credit_entitlement_id: link
                .and_then(|link| ids(link.entitlement))
                .map(|id| id.as_str().to_owned()),
            meter_units_per_credit: link.map(|link| link.units_per_credit.to_string()),
            earlier_in_period: (!is_first).then(|| EarlierBody::from(usage.used)),
        }
    }
}

/// The one price where there is room for one, `"0"` when it is free; see [`Rate::shown_price`].
pub(crate) fn shown_price(rate: &Rate, shares: &[TierShare]) -> String {
    price_text(rate.shown_price(shares))
}

/// The packages that a line's units begin; of another rate none.
pub(crate) fn packages(usage: &UsageLine) -> Option<Quantity> {
    match usage.rate {
        Rate::PerUnit(_) | Rate::Tiered { .. } | Rate::Credits(_) => None,
        Rate::Package { size, .. } => {
            let to = usage.position.checked_add(usage.chargeable)?;
            billing::packages(size, usage.position, to)
        }
    }
}

/// A price as a text, `"0"` when there is none.
pub(crate) fn price_text(price: Option<UnitPrice>) -> String {
    price.map_or_else(|| "0".to_owned(), |price| price.to_string())
}

fn package_size(rate: &Rate) -> Option<u64> {
    match rate {
        Rate::Package { size, .. } => Some(*size),
        Rate::PerUnit(_) | Rate::Tiered { .. } | Rate::Credits(_) => None,
    }
}

impl From<&Tier> for TierBody {
    fn from(tier: &Tier) -> Self {
        Self {
            up_to: tier.up_to.map(|end| end.to_string()),
            price_per_unit: price_text(tier.price_per_unit),
            flat_fee: tier.flat_fee.as_minor(),
        }
    }
}

impl From<&TierShare> for LineTierBody {
    fn from(share: &TierShare) -> Self {
        Self {
            up_to: share.up_to.map(|end| end.to_string()),
            units: share.units.to_string(),
            price_per_unit: price_text(share.price_per_unit),
            flat_fee: share.flat_fee.as_minor(),
        }
    }
}

impl From<Used> for EarlierBody {
    fn from(used: Used) -> Self {
        Self {
            consumed_units: used.total.to_string(),
            highest_units: used.high.to_string(),
            charged_units: used.billed.to_string(),
            amount: used.amount.as_minor(),
        }
    }
}

impl From<TierModeWord> for TierMode {
    fn from(word: TierModeWord) -> Self {
        match word {
            TierModeWord::Graduated => Self::Graduated,
            TierModeWord::Volume => Self::Volume,
        }
    }
}

impl From<TierMode> for TierModeWord {
    fn from(mode: TierMode) -> Self {
        match mode {
            TierMode::Graduated => Self::Graduated,
            TierMode::Volume => Self::Volume,
        }
    }
}
