//! Settings of credits in words.

use crate::model::credit::{
    CreditTerms, OverageBehavior, OverageTerms, RolloverTerms, TransactionType,
};
use crate::model::price::{Interval, IntervalUnit};

/// When a grant ends by its age.
pub(super) fn expiry(terms: &CreditTerms) -> String {
    match terms.expires_after_days {
        None => "never".to_owned(),
        Some(1) => "after 1 day".to_owned(),
        Some(days) => format!("after {days} days"),
    }
}

/// What goes on at a turn.
pub(super) fn rollover(terms: &RolloverTerms) -> String {
    if !terms.is_enabled {
        return "nothing goes on".to_owned();
    }
    let part = terms.percentage.unwrap_or(100);
    let lives = terms
        .timeframe
        .map_or("until the next turn".to_owned(), |frame| format!("for {}", interval(frame)));
    let times = match terms.count_max {
        None => String::new(),
        Some(1) => ", once".to_owned(),
        Some(count) => format!(", at most {count} times"),
    };
    format!("{part} % {lives}{times}")
}

/// What usage beyond the credits comes to.
pub(super) fn overage(terms: &OverageTerms) -> String {
    if !terms.is_enabled {
        return "none: what nothing covers is free".to_owned();
    }
    let limit = terms.limit.map_or(String::new(), |limit| format!(", up to {limit}"));
    let price = match (terms.price, terms.currency) {
        (Some(price), Some(currency)) => format!(" at {price} of the minor unit of {currency}"),
        (Some(_) | None, _) => String::new(),
    };
    format!("{}{limit}{price}", behavior(terms.behavior))
}

pub(super) fn behavior(behavior: OverageBehavior) -> &'static str {
    match behavior {
        OverageBehavior::ForgiveAtReset => "forgiven at each turn",
        OverageBehavior::InvoiceAtBilling => "invoiced at each turn",
        OverageBehavior::CarryDeficit => "carried on",
        OverageBehavior::CarryDeficitAutoRepay => "carried on, new credits pay it back",
    }
}

pub(super) fn interval(interval: Interval) -> String {
    let unit = unit(interval.unit);
    match interval.count {
        1 => format!("1 {unit}"),
        count => format!("{count} {unit}s"),
    }
}

pub(super) fn unit(unit: IntervalUnit) -> &'static str {
    match unit {
        IntervalUnit::Day => "day",
        IntervalUnit::Week => "week",
        IntervalUnit::Month => "month",
        IntervalUnit::Year => "year",
    }
}

/// What can happen, with its name on the wire and in words.
pub(super) const TRANSACTIONS: [(TransactionType, &str, &str); 8] = [
    (TransactionType::CreditAdded, "credit_added", "added"),
    (TransactionType::CreditDeducted, "credit_deducted", "used"),
    (TransactionType::CreditExpired, "credit_expired", "expired"),
    (TransactionType::CreditRolledOver, "credit_rolled_over", "rolled over"),
    (TransactionType::RolloverForfeited, "rollover_forfeited", "roll-over forfeited"),
    (TransactionType::OverageCharged, "overage_charged", "overage invoiced"),
    (TransactionType::OverageReset, "overage_reset", "overage forgiven"),
    (TransactionType::ManualAdjustment, "manual_adjustment", "by hand"),
];

pub(super) fn transaction(transaction: TransactionType) -> &'static str {
    let known = TRANSACTIONS.iter().find(|(known, _, _)| *known == transaction);
    known.map_or("", |(_, _, words)| words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Credits;

    #[test]
    fn settings_read_as_sentences() {
        let mut terms =
            RolloverTerms { is_enabled: true, percentage: None, timeframe: None, count_max: None };
        assert_eq!(rollover(&terms), "100 % until the next turn");
        terms.percentage = Some(50);
        terms.timeframe = Some(Interval { count: 2, unit: IntervalUnit::Month });
        terms.count_max = Some(1);
        assert_eq!(rollover(&terms), "50 % for 2 months, once");
        terms.is_enabled = false;
        assert_eq!(rollover(&terms), "nothing goes on");
        let mut terms = OverageTerms {
            is_enabled: true,
            limit: Some(Credits::from_units(5_000_000_000_000)),
            behavior: OverageBehavior::InvoiceAtBilling,
            price: None,
            currency: None,
        };
        assert_eq!(overage(&terms), "invoiced at each turn, up to 5");
        terms.is_enabled = false;
        assert_eq!(overage(&terms), "none: what nothing covers is free");
    }

    #[test]
    fn every_transaction_has_words_and_the_name_of_the_wire() {
        let all = [
            TransactionType::CreditAdded,
            TransactionType::CreditDeducted,
            TransactionType::CreditExpired,
            TransactionType::CreditRolledOver,
            TransactionType::RolloverForfeited,
            TransactionType::OverageCharged,
            TransactionType::OverageReset,
            TransactionType::ManualAdjustment,
        ];
        assert!(all.into_iter().all(|each| !transaction(each).is_empty()));
    }
}
