//! Numbers as texts and quantities as integers: no binary floating point anywhere.
//!
//! A [`Number`] is the text of a JSON number, kept as it came. A [`Quantity`] is what a meter adds:
//! a whole count of 10^-12 units in an `i128`, so that sums are associative and exact.

use std::cmp::Ordering;
use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// Fractional decimal digits of a quantity.
const FRACTION_DIGITS: i64 = 12;
/// Integer digits of a quantity that one event may carry: its magnitude is below 10^15.
const INTEGER_DIGITS_MAX: i64 = 15;
/// Units of 10^-12 in one whole.
const ONE: u128 = 10_u128.pow(12);
/// The first magnitude that one event may not carry, in units of 10^-12.
const LIMIT: u128 = 10_u128.pow(15) * ONE;

const _: () = assert!(INTEGER_DIGITS_MAX == 15 && FRACTION_DIGITS == 12, "see `plain_quantity`");
// The widest run of digits that `Number::to_quantity` collects fits an i128 with room to spare.
const _: () = assert!(LIMIT < i128::MAX as u128 / 1_000);

/// The text of a number in the grammar of RFC 8259, section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Number<'a>(&'a str);

impl<'de: 'a, 'a> Deserialize<'de> for Number<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&'a str>::deserialize(deserializer)?;
        Self::new(text).ok_or_else(|| D::Error::custom("not a JSON number"))
    }
}

/// The magnitude of a number is 10^15 or more, so that no meter counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("magnitude is 10^15 or more")]
pub struct OutOfRange;

/// A number taken apart: `0.d1 d2 d3 … x 10^point`, with d1 and the last digit not zero.
struct Decimal<'a> {
    negative: bool,
    /// The digits from the first that is not zero to the last, as far as they stand before the decimal point in
    /// the text, and behind it; none for zero.
    digits: [&'a [u8]; 2],
    /// How many digits stand before the decimal point; may be negative.
    point: i64,
}

impl<'a> Number<'a> {
    /// The number with this text, or nothing when the text is not a JSON number.
    pub fn new(text: &'a str) -> Option<Self> {
        Self::at_front(text).and_then(|(number, behind)| behind.is_empty().then_some(number))
    }

    /// The longest number that `text` begins with, and what stands behind it; nothing when it begins with none,
    /// or a point or exponent behind it has no digits.
    #[inline]
    pub fn at_front(text: &'a str) -> Option<(Self, &'a str)> {
        let unsigned = text.strip_prefix('-').unwrap_or(text).as_bytes();
        let (integer, mut rest) = match unsigned.split_first() {
            Some((b'0', rest)) => (&b"0"[..], rest),
            Some(_) | None => split_digits(unsigned),
        };
        if integer.is_empty() {
            return None;
        }
        if let Some((b'.', fraction)) = rest.split_first() {
            rest = digits_behind(fraction)?;
        }
        if let Some((b'e' | b'E', exponent)) = rest.split_first() {
            rest = match exponent.split_first() {
                Some((b'+' | b'-', digits)) => digits_behind(digits)?,
                Some(_) | None => digits_behind(exponent)?,
            };
        }
        let (number, behind) = text.split_at_checked(text.len() - rest.len())?;
        Some((Self(number), behind))
    }

    /// The text as it came.
    pub fn as_str(self) -> &'a str {
        self.0
    }

    #[inline]
    fn decimal(self) -> Decimal<'a> {
        let bytes = self.0.as_bytes();
        let (negative, unsigned) = match bytes.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, bytes),
        };
        let (integer, rest) = split_digits(unsigned);
        let (fraction, rest) = match rest.split_first() {
            Some((b'.', rest)) => split_digits(rest),
            Some(_) | None => (&[][..], rest),
        };
        let exponent = rest.split_first().map_or(0, |(_, digits)| saturating_exponent(digits));
        // No integer but zero itself begins with a zero.
        let integer = if integer == b"0" { &[] } else { integer };
        let fraction = trim_end_zeros(fraction);
        let (digits, point) = if fraction.is_empty() {
            ([trim_end_zeros(integer), fraction], signed(integer.len()))
        } else if integer.is_empty() {
            // Zeros behind the point make it negative.
            let zeros = fraction.iter().take_while(|byte| **byte == b'0').count();
            ([&[], fraction.get(zeros..).unwrap_or_default()], -signed(zeros))
        } else {
            ([integer, fraction], signed(integer.len()))
        };
        if digits.iter().all(|part| part.is_empty()) {
            return Decimal::ZERO;
        }
        Decimal { negative, digits, point: point.saturating_add(exponent) }
    }

    /// The quantity nearest to this number; halves go to the even neighbour.
    ///
    /// # Errors
    /// [`OutOfRange`] when the magnitude, rounded, is 10^15 or more.
    pub fn to_quantity(self) -> Result<Quantity, OutOfRange> {
        if let Some(quantity) = self.plain_quantity() {
            return Ok(quantity);
        }
        let decimal = self.decimal();
        if decimal.is_zero() {
            return Ok(Quantity::ZERO);
        }
        if decimal.point > INTEGER_DIGITS_MAX {
            return Err(OutOfRange);
        }
        let kept = decimal.point + FRACTION_DIGITS;
        if kept < 0 {
            return Ok(Quantity::ZERO);
        }
        let mut digits = decimal.values();
        let mut units: u128 = 0;
        for _ in 0..kept {
            units = units * 10 + u128::from(digits.next().unwrap_or(0));
        }
        // The last digit is not zero, so anything behind the first dropped one is above the half.
        let round_up = match digits.next().unwrap_or(0).cmp(&5) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => digits.next().is_some() || units % 2 == 1,
        };
        units += u128::from(round_up);
        if units >= LIMIT {
            return Err(OutOfRange);
        }
        let units = i128::try_from(units).map_err(|_| OutOfRange)?;
        Ok(Quantity(if decimal.negative { -units } else { units }))
    }

    /// The quantity of a number that is written short and without exponent, as nearly all are: at most
    /// 15 digits before the point and 12 behind it, 18 together, so that nothing is rounded.
    fn plain_quantity(self) -> Option<Quantity> {
        let (is_negative, unsigned) = match self.0.as_bytes().split_first()? {
            (b'-', unsigned) => (true, unsigned),
            _ => (false, self.0.as_bytes()),
        };
        let (integer, rest) = split_digits(unsigned);
        let (fraction, behind) = match rest.split_first() {
            Some((b'.', rest)) => split_digits(rest),
            Some(_) | None => (Default::default(), rest),
        };
        let is_short = integer.len() <= 15 && fraction.len() <= 12;
        if !behind.is_empty() || !is_short || integer.len() + fraction.len() > 18 {
            return None;
        }
        let add = |value: u64, digit: &u8| value * 10 + u64::from(digit - b'0');
        let value = fraction.iter().fold(integer.iter().fold(0, add), add);
        let zeros = u32::try_from(12 - fraction.len()).ok()?;
        let units = i128::from(value) * i128::from(10_u64.pow(zeros));
        Some(Quantity(if is_negative { -units } else { units }))
    }

    /// Compares the two values exactly, whatever their size, form or number of digits.
    pub fn compare(self, other: Number<'_>) -> Ordering {
        let (left, right) = (self.decimal(), other.decimal());
        match (left.sign(), right.sign()) {
            (0, 0) => Ordering::Equal,
            (1, 1) => left.compare_magnitude(&right),
            (-1, -1) => right.compare_magnitude(&left),
            (left, right) => left.cmp(&right),
        }
    }

    /// Appends a form that equal values share: sign, point and the values of the digits.
    pub fn canonical(self, out: &mut Vec<u8>) {
        let Decimal { negative, digits, point } = self.decimal();
        out.push(u8::from(negative));
        out.extend_from_slice(&point.to_le_bytes());
        for part in digits {
            out.extend(part.iter().map(|digit| digit - b'0'));
        }
    }
}

impl Decimal<'_> {
    const ZERO: Self = Self { negative: false, digits: [&[]; 2], point: 0 };

    fn is_zero(&self) -> bool {
        self.digits.iter().all(|part| part.is_empty())
    }

    fn values(&self) -> impl Iterator<Item = u8> + '_ {
        self.digits.iter().copied().flatten().map(|byte| byte - b'0')
    }

    fn sign(&self) -> i8 {
        match (self.is_zero(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn compare_magnitude(&self, other: &Self) -> Ordering {
        self.point.cmp(&other.point).then_with(|| self.values().cmp(other.values()))
    }
}

impl fmt::Display for Number<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

fn trim_end_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().rev().take_while(|byte| **byte == b'0').count();
    digits.get(..digits.len() - zeros).unwrap_or_default()
}

/// What stands behind the digits at the front, of which there must be one.
fn digits_behind(bytes: &[u8]) -> Option<&[u8]> {
    let (digits, behind) = split_digits(bytes);
    (!digits.is_empty()).then_some(behind)
}

#[inline]
fn split_digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let count = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.split_at(count)
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).expect("no text has 2^63 characters")
}

/// The exponent, held within ±10^9: no text that is admitted is long enough to tell the difference.
fn saturating_exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        Some((b'+', digits)) => (false, digits),
        Some(_) | None => (false, text),
    };
    let magnitude = digits
        .iter()
        .fold(0_i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1_000_000_000));
    if negative { -magnitude } else { magnitude }
}

/// An exact amount of usage, in units of 10^-12.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Quantity(i128);

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// No magnitude of what one event carries is larger, in units of 10^-12.
    pub const EVENT_MAGNITUDE_MAX: u128 = LIMIT;

    /// The quantity of this many 10^-12 units.
    pub const fn from_units(units: i128) -> Self {
        Self(units)
    }

    /// The amount in units of 10^-12.
    pub const fn as_units(self) -> i128 {
        self.0
    }

    /// A whole number.
    pub fn from_count(count: u64) -> Self {
        // Fits: 2^64 x 10^12 is below 2^104.
        Self(i128::from(count) * 1_000_000_000_000)
    }

    /// The exact sum, or nothing when it leaves 128 bits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The exact difference, or nothing when it leaves 128 bits.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The magnitude in units of 10^-12.
    pub const fn magnitude(self) -> u128 {
        self.0.unsigned_abs()
    }
}

impl fmt::Display for Quantity {
    /// The shortest decimal: no exponent, no trailing zeros, no point without a fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.magnitude() / ONE, self.magnitude() % ONE);
        if self.0 < 0 {
            f.write_str("-")?;
        }
        write!(f, "{whole}")?;
        if fraction != 0 {
            let digits = format!("{fraction:012}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quantity(text: &str) -> String {
        match Number::new(text).expect(text).to_quantity() {
            Ok(quantity) => quantity.to_string(),
            Err(OutOfRange) => "out of range".to_owned(),
        }
    }

    #[test]
    fn quantities_are_exact_to_twelve_digits_and_round_half_even_beyond() {
        for (text, expected) in [
            ("0", "0"),
            ("-0", "0"),
            ("0.000", "0"),
            ("0e999999999999", "0"),
            ("1500", "1500"),
            ("100", "100"),
            ("100.0", "100"),
            ("-8.30", "-8.3"),
            ("1e3", "1000"),
            ("1.5E+2", "150"),
            ("12345e-7", "0.0012345"),
            ("9007199254740993e-1", "900719925474099.3"),
            ("0.1234567890125", "0.123456789012"),
            ("0.1234567890135", "0.123456789014"),
            ("0.12345678901250001", "0.123456789013"),
            ("-0.1234567890135", "-0.123456789014"),
            ("5e-13", "0"),
            ("5.1e-13", "0.000000000001"),
            ("1e-400", "0"),
            ("999999999999999.999999999999", "999999999999999.999999999999"),
            ("999999999999999.9999999999994", "999999999999999.999999999999"),
            ("999999999999999.9999999999995", "out of range"),
            ("1000000000000000", "out of range"),
            ("-1e15", "out of range"),
            ("1e308", "out of range"),
            ("1e99999999999999999999", "out of range"),
        ] {
            assert_eq!(quantity(text), expected, "{text}");
        }
        let long = format!("0.{}", "3".repeat(400));
        assert_eq!(quantity(&long), "0.333333333333");
        assert_eq!(quantity(&"9".repeat(400)), "out of range");
    }

    #[test]
    fn only_the_json_grammar_is_a_number() {
        for text in [
            "", "-", "+1", "01", "1.", ".5", "1e", "1e+", "NaN", "Infinity", "0x10", "1_0", " 1",
            "1 ", "--1", "1.5.2",
        ] {
            assert_eq!(Number::new(text), None, "{text}");
        }
    }

    #[test]
    fn comparison_is_exact_for_any_size() {
        for (left, right, expected) in [
            ("1", "1.000", Ordering::Equal),
            ("1e2", "100", Ordering::Equal),
            ("-0.0", "0", Ordering::Equal),
            ("9007199254740993", "9007199254740992", Ordering::Greater),
            ("1e-13", "0", Ordering::Greater),
            ("-1e308", "1e-308", Ordering::Less),
            ("-2", "-1", Ordering::Less),
            ("0.5", "0.49999999999999999999", Ordering::Greater),
            ("0.05", "0.5", Ordering::Less),
            ("10", "9", Ordering::Greater),
        ] {
            let (l, r) = (Number::new(left).unwrap(), Number::new(right).unwrap());
            assert_eq!(l.compare(r), expected, "{left} {right}");
            assert_eq!(r.compare(l), expected.reverse(), "{right} {left}");
        }
    }

    #[test]
    fn equal_values_have_one_canonical_form() {
        let form = |text: &str| {
            let mut bytes = Vec::new();
            Number::new(text).unwrap().canonical(&mut bytes);
            bytes
        };
        for text in ["100", "1e2", "100.00", "0.1e3", "1000e-1"] {
            assert_eq!(form(text), form("100"), "{text}");
        }
        for text in ["-100", "10", "1000", "101", "100.1"] {
            assert_ne!(form(text), form("100"), "{text}");
        }
    }

    /// It is hashed into what stands on disk.
    #[test]
    fn the_canonical_form_never_changes() {
        for (text, negative, point, digits) in [
            ("0", 0, 0, &[][..]),
            ("-0.00e7", 0, 0, &[]),
            ("7", 0, 1, &[7]),
            ("1500", 0, 4, &[1, 5]),
            ("-120.50", 1, 3, &[1, 2, 0, 5]),
            ("0.5", 0, 0, &[5]),
            ("0.00120", 0, -2, &[1, 2]),
            ("3.0", 0, 1, &[3]),
            ("-120.50e3", 1, 6, &[1, 2, 0, 5]),
            ("20.7E-4", 0, -2, &[2, 0, 7]),
            ("1e9999999999", 0, 1_000_000_001, &[1]),
        ] {
            let mut expected = vec![negative];
            expected.extend(i64::to_le_bytes(point));
            expected.extend(digits);
            let mut found = Vec::new();
            Number::new(text).unwrap().canonical(&mut found);
            assert_eq!(found, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_quantity_survives_printing_and_reading(units in -(10_i128.pow(27) - 1)..10_i128.pow(27)) {
            let quantity = Quantity::from_units(units);
            let text = quantity.to_string();
            prop_assert_eq!(Number::new(&text).unwrap().to_quantity(), Ok(quantity));
        }

        #[test]
        fn reading_agrees_with_integer_arithmetic(whole in 0_u64..10_u64.pow(14), fraction in 0_u64..10_u64.pow(9), shift in 0_u32..6) {
            let text = format!("{whole}.{fraction:09}e-{shift}");
            let scaled = (i128::from(whole) * 10_i128.pow(9) + i128::from(fraction)) * 1_000;
            let divisor = 10_i128.pow(shift);
            let (floor, rest) = (scaled / divisor, scaled % divisor);
            let expected = match (rest * 2).cmp(&divisor) {
                Ordering::Less => floor,
                Ordering::Greater => floor + 1,
                Ordering::Equal => floor + floor % 2,
            };
            prop_assert_eq!(Number::new(&text).unwrap().to_quantity(), Ok(Quantity::from_units(expected)));
        }

        #[test]
        fn a_short_number_is_read_as_the_same_with_an_exponent(
            text in "-?(0|[1-9][0-9]{0,16})(\\.[0-9]{1,14})?",
        ) {
            let with_exponent = format!("{text}e0");
            let read = |text| Number::new(text).unwrap().to_quantity();
            prop_assert_eq!(read(&text), read(&with_exponent));
        }

        #[test]
        fn the_longest_number_at_the_front_is_found(text in "-?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?[-+0-9.eE, ]{0,3}") {
            // One byte longer after the other; where a point or an exponent begins it must go on.
            let longest = (1..=text.len()).rev().find(|end| Number::new(&text[..*end]).is_some());
            match Number::at_front(&text) {
                Some((number, behind)) => {
                    prop_assert_eq!(Some(number.as_str().len()), longest);
                    prop_assert_eq!(format!("{number}{behind}"), text);
                }
                None => prop_assert!(longest.is_none_or(|end| text[end..].starts_with(['.', 'e', 'E']))),
            }
        }

        #[test]
        fn the_grammar_agrees_with_a_json_parser(text in "[-+0-9.eE]{1,8}") {
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(Number::new(&text).is_some(), theirs);
        }
    }
}
