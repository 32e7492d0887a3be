//! Credits on the wire.

mod attachments;
mod balances;
mod entitlements;
mod entries;
mod grants;
mod ledger;
mod overrides;
mod reservations;
mod terms;

use crate::http::reply::ApiError;
use crate::http::route::Routes;
use crate::model::credit::PRECISION_MAX;
use crate::model::{Credits, Number, Quantity};

pub(crate) use attachments::{AttachmentInput, MappingBody, attachments, mappings};
pub(crate) use ledger::shown_row;
pub(crate) use overrides::{CartCreditsInput, OverrideInput, amounts, overrides};
pub(crate) use terms::OverageWord;

/// The first amount that is too much, in whole credits.
const AMOUNT_LIMIT: i128 = 10_i128.pow(10);
/// Units of one credit.
const ONE: i128 = 10_i128.pow(12);

/// Adds the routes of credits.
pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = balances::routes(entitlements::routes(routes));
    let routes = entries::routes(ledger::routes(grants::routes(routes)));
    reservations::routes(routes)
}

/// An amount of credits, from nothing to less than 10^10, with up to 10 digits behind the point.
///
/// # Errors
/// 422 that names `field`
pub(crate) fn amount(field: &str, text: &str) -> Result<Credits, ApiError> {
    bounded(field, &decimal(field, text)?)
}

/// A decimal number with up to 10 digits behind the point.
fn decimal<'t>(field: &str, text: &'t str) -> Result<Number<'t>, ApiError> {
    let refusal = |message: &str| ApiError::invalid(field, format!("{field}: {message}"));
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let is_plain = unsigned.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number = Number::new(text).filter(|_| is_plain);
    let number = number.ok_or_else(|| refusal("must be a decimal number such as 100 or 0.5"))?;
    let fraction = unsigned.split_once('.').map_or("", |(_, fraction)| fraction);
    if fraction.trim_end_matches('0').len() > usize::from(PRECISION_MAX) {
        return Err(refusal(&format!("has more than {PRECISION_MAX} digits behind the point")));
    }
    Ok(number)
}

/// The amount that a number is: from nothing to less than 10^10.
fn bounded(field: &str, number: &Number<'_>) -> Result<Credits, ApiError> {
    let refusal = |message: &str| ApiError::invalid(field, format!("{field}: {message}"));
    let units = number.to_quantity().ok().map(Quantity::as_units);
    match units {
        Some(units) if units < 0 => Err(refusal("must not be negative")),
        Some(units) if units < AMOUNT_LIMIT * ONE => Ok(Credits::from_units(units)),
        Some(_) | None => Err(refusal("must be less than 10000000000")),
    }
}

/// An amount of credits that is more than nothing.
///
/// # Errors
/// 422 that names `field`
pub(crate) fn positive_amount(field: &str, text: &str) -> Result<Credits, ApiError> {
    let amount = amount(field, text)?;
    if amount.is_zero() {
        return Err(ApiError::invalid(field, format!("{field}: must be more than zero")));
    }
    Ok(amount)
}

/// A number from `least` to `most`.
///
/// # Errors
/// 422 that names `field`
pub(crate) fn within<T: TryFrom<i64>>(
    field: &str,
    number: i64,
    least: i64,
    most: i64,
) -> Result<T, ApiError> {
    let fitting = (least..=most).contains(&number).then(|| T::try_from(number).ok()).flatten();
    fitting
        .ok_or_else(|| ApiError::invalid(field, format!("{field}: must be from {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let found = amount("a", text).map(|amount| amount.to_string());
        let found = found.map_err(|error| error.body().message.clone());
        assert_eq!(
            found,
            expected.map(str::to_owned).map_err(|message| format!("a: {message}")),
            "{text}"
        );
    }

    #[test]
    fn amounts_are_exact_and_bounded() {
        let zeros = format!("1.5{}", "0".repeat(40));
        for (text, printed) in [
            ("0", "0"),
            ("100", "100"),
            ("0.5", "0.5"),
            ("9999999999.9999999999", "9999999999.9999999999"),
            (&zeros, "1.5"),
        ] {
            check(text, Ok(printed));
        }
        for text in ["", ".", "1.", ".5", "01", "+1", "1e3", "1,5", " 1", "--1", "1-", "NaN"] {
            check(text, Err("must be a decimal number such as 100 or 0.5"));
        }
        for text in ["-1", "-0.5"] {
            check(text, Err("must not be negative"));
        }
        for text in ["10000000000", "99999999999999999999999999999999999999999"] {
            check(text, Err("must be less than 10000000000"));
        }
        check("0.00000000001", Err("has more than 10 digits behind the point"));
        assert!(positive_amount("a", "0.0000000001").is_ok());
        for text in ["0", "0.000", "-0"] {
            let error = positive_amount("a", text).unwrap_err();
            assert_eq!(error.body().message, "a: must be more than zero", "{text}");
        }
    }

    #[test]
    fn whole_numbers_are_bounded_on_both_sides() {
        let read = |number| within::<u8>("n", number, 1, 100).ok();
        assert_eq!([read(0), read(1), read(100), read(101)], [None, Some(1), Some(100), None]);
        assert_eq!(within::<u8>("n", 256, 0, 1_000).ok(), None);
    }
}
