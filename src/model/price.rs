//! Prices: what a product costs once, each cycle, and per unit of usage.

use std::fmt;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::model::credit::Attachment;
use crate::model::currency::Currency;
use crate::model::id::MeterIndex;
use crate::model::money::Money;
use crate::model::rate::Rate;

/// Digits of a unit price before the point, at most.
const INTEGER_DIGITS_MAX: usize = 5;
/// Digits of a unit price behind the point, at most.
const FRACTION_DIGITS_MAX: usize = 12;
/// Meters that one price may count, at most.
pub const METERS_MAX: usize = 10;

/// The price of one unit of usage in the currency's minor unit: more than zero, at most 5 digits
/// before the point and 12 behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitPrice(Decimal);

/// The text is no unit price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitPriceError {
    /// It is not a plain decimal number.
    #[error("not a decimal number such as 0.25")]
    Form,
    /// It is zero or less.
    #[error("must be more than zero")]
    NotPositive,
    /// It is less than zero, where zero would do.
    #[error("must not be negative")]
    Negative,
    /// It has too many digits.
    #[error("has more than 5 digits before or 12 behind the point")]
    TooManyDigits,
}

impl UnitPrice {
    /// Reads a decimal number without exponent.
    ///
    /// # Errors
    /// [`UnitPriceError`] says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, UnitPriceError> {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (integer, fraction) = match unsigned.split_once('.') {
            Some((_, "")) => return Err(UnitPriceError::Form),
            Some(parts) => parts,
            None => (unsigned, ""),
        };
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if integer.is_empty() || !are_digits(integer) || !are_digits(fraction) {
            return Err(UnitPriceError::Form);
        }
        let integer = integer.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        if unsigned.len() < text.len() || (integer.is_empty() && fraction.is_empty()) {
            return Err(UnitPriceError::NotPositive);
        }
        if integer.len() > INTEGER_DIGITS_MAX || fraction.len() > FRACTION_DIGITS_MAX {
            return Err(UnitPriceError::TooManyDigits);
        }
        let digits = format!("{integer}{fraction}").parse().map_err(|_| UnitPriceError::Form)?;
        let scale = u32::try_from(fraction.len()).map_err(|_| UnitPriceError::Form)?;
        Ok(Self(Decimal::new(digits, scale)))
    }

    /// Reads a price where there may be none: nothing for zero.
    ///
    /// # Errors
    /// [`UnitPriceError`] says what is wrong with the text.
    pub fn parse_or_free(text: &str) -> Result<Option<Self>, UnitPriceError> {
        match Self::parse(text) {
            Ok(price) => Ok(Some(price)),
            Err(UnitPriceError::NotPositive) if text.starts_with('-') => {
                Err(UnitPriceError::Negative)
            }
            Err(UnitPriceError::NotPositive) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// The price in units of 10^-12 of the minor unit; below 10^17.
    pub fn as_units(self) -> i128 {
        // Fits: a price has at most 12 digits behind the point.
        let missing = u32::try_from(FRACTION_DIGITS_MAX).unwrap_or(0) - self.0.scale();
        self.0.mantissa() * 10_i128.pow(missing)
    }
}

impl TryFrom<String> for UnitPrice {
    type Error = UnitPriceError;

    fn try_from(text: String) -> Result<Self, UnitPriceError> {
        Self::parse(&text)
    }
}

impl From<UnitPrice> for String {
    fn from(price: UnitPrice) -> Self {
        price.to_string()
    }
}

impl fmt::Display for UnitPrice {
    /// The shortest decimal form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A unit of the civil calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire format's and say it all")]
pub enum IntervalUnit {
    Day,
    Week,
    Month,
    Year,
}

/// A length of calendar time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Interval {
    /// How many units; at least one.
    pub count: u32,
    /// The unit.
    pub unit: IntervalUnit,
}

/// How often a price is due, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recurrence {
    /// The length of a cycle.
    pub payment_frequency: Interval,
    /// How long a subscription lasts.
    pub subscription_period: Interval,
    /// Days before the first cycle; zero for none.
    pub trial_days: u32,
}

/// What one meter's usage costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterPrice {
    /// The meter.
    pub meter: MeterIndex,
    /// What units cost.
    pub rate: Rate,
    /// Whole units of each period that cost nothing.
    pub free_threshold: u64,
    /// What a period costs at least, even without usage; not negative.
    pub minimum: Option<Money>,
    /// What a period costs at most; not less than the minimum.
    pub maximum: Option<Money>,
}

/// The customer says what one costs, and never less than the fixed price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayWhatYouWant {
    /// What is proposed; not less than the fixed price.
    pub suggested: Option<Money>,
}

/// What makes a price be due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PriceKind {
    /// A purchase, perhaps for as much as the customer wants.
    OneTime(Option<PayWhatYouWant>),
    /// Each cycle, in advance.
    Recurring(Recurrence),
    /// Each cycle in advance, and the usage of the cycle before.
    UsageBased {
        /// The cycle.
        recurrence: Recurrence,
        /// The meters, each once, in the client's order.
        meters: Vec<MeterPrice>,
    },
}

/// A price. The kind of a product's price never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// The currency of all its amounts.
    pub currency: Currency,
    /// What one of the product costs, once or each cycle; not negative.
    pub fixed: Money,
    /// Off the fixed price, in hundredths of a percent; at most 10,000.
    pub discount_bps: u16,
    /// As the client said; there are no taxes here.
    pub tax_inclusive: bool,
    /// As the client said; it never applies.
    pub purchasing_power_parity: bool,
    /// When it is due.
    pub kind: PriceKind,
    /// The credits that it hands out, each entitlement once, in the client's order; at most
    /// [`ATTACHMENTS_MAX`](crate::model::credit::ATTACHMENTS_MAX).
    pub credits: Vec<Attachment>,
}

impl Price {
    /// The cycle; a purchase has none.
    pub fn recurrence(&self) -> Option<&Recurrence> {
        match &self.kind {
            PriceKind::OneTime(_) => None,
            PriceKind::Recurring(recurrence) | PriceKind::UsageBased { recurrence, .. } => {
                Some(recurrence)
            }
        }
    }

    /// Whether the customer says what one costs.
    pub fn pay_what_you_want(&self) -> Option<PayWhatYouWant> {
        match self.kind {
            PriceKind::OneTime(choice) => choice,
            PriceKind::Recurring(_) | PriceKind::UsageBased { .. } => None,
        }
    }

    /// The meters whose usage it bills.
    pub fn meters(&self) -> &[MeterPrice] {
        match &self.kind {
            PriceKind::OneTime(_) | PriceKind::Recurring(_) => &[],
            PriceKind::UsageBased { meters, .. } => meters,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<(&str, i128), UnitPriceError>) {
        let found = UnitPrice::parse(text).map(|price| (price.to_string(), price.as_units()));
        assert_eq!(found, expected.map(|(text, units)| (text.to_owned(), units)), "{text}");
    }

    #[test]
    fn prices_are_exact_and_printed_short() {
        check("2", Ok(("2", 2_000_000_000_000)));
        check("0.000225", Ok(("0.000225", 225_000_000)));
        check("99999.999999999999", Ok(("99999.999999999999", 99_999_999_999_999_999)));
        check("0.000000000001", Ok(("0.000000000001", 1)));
        check("002.500", Ok(("2.5", 2_500_000_000_000)));
        // More zeros than a decimal has digits.
        check(&format!("1.{}", "0".repeat(40)), Ok(("1", 1_000_000_000_000)));
        check(&format!("{}1.5", "0".repeat(40)), Ok(("1.5", 1_500_000_000_000)));
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        for text in ["", "abc", "1e3", "1_000", ".5", "5.", "+1", "1.2.3", " 1", "--1", "\u{661}"] {
            check(text, Err(UnitPriceError::Form));
        }
        for text in ["0", "0.00", "-1", "-0.5", "-0"] {
            check(text, Err(UnitPriceError::NotPositive));
        }
        for text in ["100000", "0.0000000000001", "1.1234567890123"] {
            check(text, Err(UnitPriceError::TooManyDigits));
        }
    }

    #[test]
    fn zero_is_no_price_where_there_may_be_none() {
        let read = UnitPrice::parse_or_free;
        for text in ["0", "0.00", "00"] {
            assert_eq!(read(text), Ok(None), "{text}");
        }
        assert_eq!(read("0.5"), UnitPrice::parse("0.5").map(Some));
        for text in ["-0", "-0.5", "-1"] {
            assert_eq!(read(text), Err(UnitPriceError::Negative), "{text}");
        }
        assert_eq!(read("free"), Err(UnitPriceError::Form));
        assert_eq!(read("100000"), Err(UnitPriceError::TooManyDigits));
    }

    proptest! {
        #[test]
        fn every_price_survives_printing_and_reading(units in 1_u64..10_u64.pow(17)) {
            let text = format!("{}.{:012}", units / 10_u64.pow(12), units % 10_u64.pow(12));
            let price = UnitPrice::parse(&text).unwrap();
            prop_assert_eq!(price.as_units(), i128::from(units));
            prop_assert_eq!(UnitPrice::parse(&price.to_string()), Ok(price));
        }
    }
}
