//! How far usage of one meter has come in one period, and how many credits that is worth.
//!
//! What counts is the most that the usage has been, above what is free: a decrease gives nothing back.
//! An amount finer than the entitlement's precision waits in units of the meter, exactly, and goes on
//! waiting when the terms change within the period.

use serde::{Deserialize, Serialize};

use crate::model::{Credits, Quantity, UnitsPerCredit};

/// Units of a quantity, of credits and of a ratio in one whole: 10^12.
const DIGITS: u32 = 12;

/// How usage of a meter goes on with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// A count or a sum: by so much more, or less.
    By(Quantity),
    /// The largest value or the last: that of the event's segment is this now.
    To(Quantity),
}

/// How usage becomes credits, under the price of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawTerms {
    /// Units of a period that are free.
    pub free_threshold: u64,
    /// Units that one credit covers.
    pub units_per_credit: UnitsPerCredit,
    /// Digits behind the point of the entitlement's amounts.
    pub precision: u8,
}

/// The usage of one (subscription, meter, period), and how much of it has drawn credits. There is one
/// over all segments of the period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// What a count or a sum has come to; of other meters nothing.
    consumed: Quantity,
    /// The most that the usage was; never negative.
    high: Quantity,
    /// How much of that has drawn, been free or been paid otherwise; at most `high`.
    passed: Quantity,
    /// What waits for a whole step of credits, in 10^-24 units of the meter. Below 10^38: less than a
    /// step, which is a ratio below 10^26 times 10^12 at most.
    pub(super) waiting: u128,
}

impl Mark {
    /// Lets an event enter under the terms of its segment: the credits that it draws.
    pub fn enter(&mut self, usage: Usage, terms: &DrawTerms) -> Credits {
        self.defer(usage);
        self.draw_deferred(terms)
    }

    /// The credits that usage would draw, were it to enter next; nothing moves.
    pub fn would_draw(mut self, usage: Usage, terms: &DrawTerms) -> Credits {
        self.enter(usage, terms)
    }

    /// Lets an event enter without drawing: the turn that its period begins with has not been done.
    pub fn defer(&mut self, usage: Usage) {
        let value = match usage {
            Usage::By(units) => {
                let sum = self.consumed.as_units().saturating_add(units.as_units());
                self.consumed = Quantity::from_units(sum);
                self.consumed
            }
            Usage::To(value) => value,
        };
        self.high = self.high.max(value);
    }

    /// Lets an event enter whose segment pays for this meter in money: it never draws.
    pub fn skip(&mut self, usage: Usage) {
        self.defer(usage);
        self.passed = self.high;
    }

    /// Usage of the period has come to this sum, and at the end of a part of it was so high: all of that has
    /// drawn, or was paid otherwise.
    pub fn pass(&mut self, consumed: Quantity, high: Quantity) {
        self.consumed = consumed;
        self.high = self.high.max(high);
        self.passed = self.high;
    }

    /// The credits that everything draws which has entered and not drawn.
    pub fn draw_deferred(&mut self, terms: &DrawTerms) -> Credits {
        let free = Quantity::from_count(terms.free_threshold).as_units();
        let beyond_free = |quantity: Quantity| (quantity.as_units() - free).max(0);
        let units = beyond_free(self.high) - beyond_free(self.passed);
        self.passed = self.high;
        let (credits, waiting) = steps(units.unsigned_abs(), self.waiting, terms);
        self.waiting = waiting;
        credits
    }
}

/// The credits in so many 10^-12 units of a meter and what was waiting, at the precision, and what waits
/// now. Credits beyond 128 bits are as many as fit.
fn steps(units: u128, waiting: u128, terms: &DrawTerms) -> (Credits, u128) {
    // With p the precision, r the ratio in 10^-12 and k = 10^(12 - p), a step of credits is worth
    // r x k x 10^-24 units, and there are floor((units x 10^12 + waiting) / (r x k)) of them. First
    // divided by k, which leaves n = units x 10^p + floor(waiting / k); then by r, in two parts, because
    // n may not fit 128 bits.
    let precision = u32::from(terms.precision).min(DIGITS);
    let (ten_p, k) = (10_u128.pow(precision), 10_u128.pow(DIGITS - precision));
    let ratio = terms.units_per_credit.as_units().unsigned_abs().max(1);
    let (quotient, remainder) = (units / ratio, units % ratio);
    // Fits: below 10^36, and `waiting` is below 10^38.
    let rest = remainder * ten_p + waiting / k;
    let finer = (rest / ratio) * k;
    // Fits: less than a step.
    let waiting = (rest % ratio) * k + waiting % k;
    let wholes = quotient.saturating_mul(10_u128.pow(DIGITS));
    let credits = i128::try_from(wholes.saturating_add(finer)).unwrap_or(i128::MAX);
    (Credits::from_units(credits), waiting)
}
