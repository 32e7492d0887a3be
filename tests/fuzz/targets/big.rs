//! Whole numbers of any size and exact decimals, slow and plain: what Quipu's own arithmetic is held
//! against.

use std::cmp::Ordering;

/// A whole number of 0 or more: digits to the base 2^32, lowest first, the highest not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Big(Vec<u32>);

impl Big {
    /// The number with these decimal digits.
    pub fn of_digits(digits: &str) -> Self {
        let mut number = Self::default();
        for digit in digits.bytes() {
            number.multiply_add(10, u32::from(digit - b'0'));
        }
        number
    }

    /// A number that a machine has room for.
    pub fn of(value: u128) -> Self {
        Self::of_digits(&value.to_string())
    }

    fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for digit in &mut self.0 {
            let value = u64::from(*digit) * u64::from(factor) + carry;
            *digit = u32::try_from(value & u64::from(u32::MAX)).unwrap();
            carry = value >> 32;
        }
        if carry > 0 {
            self.0.push(u32::try_from(carry).unwrap());
        }
    }

    /// The product with 10 to this power.
    #[must_use]
    pub fn times_ten_to(mut self, power: usize) -> Self {
        for _ in 0..power {
            self.multiply_add(10, 0);
        }
        self
    }

    /// The product.
    ///
    /// # Panics
    /// Never: digits are cut to their 32 bits.
    #[must_use]
    pub fn times(&self, other: &Self) -> Self {
        let mut product = vec![0_u32; self.0.len() + other.0.len()];
        for (place, left) in self.0.iter().enumerate() {
            let mut carry = 0_u64;
            for (offset, right) in other.0.iter().chain(&[0]).enumerate() {
                let Some(digit) = product.get_mut(place + offset) else { continue };
                let value = u64::from(*left) * u64::from(*right) + u64::from(*digit) + carry;
                *digit = u32::try_from(value & u64::from(u32::MAX)).unwrap();
                carry = value >> 32;
            }
        }
        while product.last() == Some(&0) {
            product.pop();
        }
        Self(product)
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialOrd for Big {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Big {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

/// `± digits x 10^exponent`.
#[derive(Clone, Debug)]
pub struct Exact {
    /// Whether a minus sign stands in front.
    pub is_negative: bool,
    /// Decimal digits without leading zeros; empty for zero.
    pub digits: String,
    /// The power of ten; beyond a billion it is a billion.
    pub exponent: i64,
}

impl Exact {
    /// The number that the text of a JSON number means.
    ///
    /// # Panics
    /// When the text is none.
    pub fn read(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let is_negative = mantissa.starts_with('-');
        let mantissa = mantissa.trim_start_matches('-');
        let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{integer}{fraction}").trim_start_matches('0').to_owned();
        let magnitude = exponent.trim_start_matches(['+', '-']).trim_start_matches('0');
        let magnitude = match magnitude {
            "" => 0,
            short if short.len() <= 9 => short.parse().unwrap(),
            _ => 1_000_000_000,
        };
        let exponent = if exponent.starts_with('-') { -magnitude } else { magnitude };
        let exponent = exponent - i64::try_from(fraction.len()).unwrap();
        Self { is_negative, digits, exponent }
    }

    /// The digits as a number.
    pub fn magnitude(&self) -> Big {
        Big::of_digits(&self.digits)
    }

    /// How many digits stand before the decimal point when it is written without exponent; negative
    /// when zeros follow the point.
    ///
    /// # Panics
    /// Never: no text is that long.
    pub fn integer_digits(&self) -> i64 {
        i64::try_from(self.digits.len()).unwrap() + self.exponent
    }

    /// Compares two numbers; `None` when they are too large or too fine to be written out.
    ///
    /// # Panics
    /// Never: what is scaled by was found small.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        const SPAN_MAX: u64 = 600;
        let signed = |it: &Self| match (it.digits.is_empty(), it.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        let signs = (signed(self), signed(other));
        if signs.0 != signs.1 || signs.0 == 0 {
            return Some(signs.0.cmp(&signs.1));
        }
        let lowest = self.exponent.min(other.exponent);
        let span = self.exponent.abs_diff(other.exponent);
        if span > SPAN_MAX || self.digits.len().max(other.digits.len()) > 600 {
            return None;
        }
        let scaled =
            |it: &Self| it.magnitude().times_ten_to(usize::try_from(it.exponent - lowest).unwrap());
        let order = scaled(self).cmp(&scaled(other));
        Some(if signs.0 < 0 { order.reverse() } else { order })
    }
}
