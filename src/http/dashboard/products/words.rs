//! Prices in words.

use crate::http::document::{major, unit_price};
use crate::model::price::{Interval, IntervalUnit, PriceKind};
use crate::model::product::TaxCategory;
use crate::model::rate::{Tier, TierMode};
use crate::model::{Currency, Money, Price, Rate};

/// `49.00 USD a month and the usage of 2 meters`.
pub(in crate::http::dashboard) fn summary(price: &Price) -> String {
    let fixed = format!("{} {}", major(price.fixed, price.currency), price.currency);
    let fixed = match price.discount_bps {
        0 => fixed,
        bps => format!("{fixed} less {} %", percent(bps)),
    };
    let Some(recurrence) = price.recurrence() else {
        return match price.pay_what_you_want() {
            Some(_) => format!("{fixed} or more, once"),
            None => format!("{fixed}, once"),
        };
    };
    let each = format!("{fixed} a {}", length(recurrence.payment_frequency));
    match price.meters() {
        [] => each,
        [_] => format!("{each} and usage"),
        meters => format!("{each} and usage of {} meters", meters.len()),
    }
}

/// `month`, `3 months`.
pub(in crate::http::dashboard) fn length(interval: Interval) -> String {
    let unit = match interval.unit {
        IntervalUnit::Day => "day",
        IntervalUnit::Week => "week",
        IntervalUnit::Month => "month",
        IntervalUnit::Year => "year",
    };
    match interval.count {
        1 => unit.to_owned(),
        count => format!("{count} {unit}s"),
    }
}

pub(super) fn kind(price: &Price) -> &'static str {
    match price.kind {
        PriceKind::OneTime(_) => "One-time",
        PriceKind::Recurring(_) => "Recurring",
        PriceKind::UsageBased { .. } => "Usage-based",
    }
}

/// Hundredths of a percent as percents.
pub(super) fn percent(bps: u16) -> String {
    crate::http::document::point_moved(&bps.to_string(), 2)
}

/// What usage costs: in one line, and what stands below it.
pub(super) fn rate(rate: &Rate, unit: &str, currency: Currency) -> (String, String) {
    match rate {
        Rate::PerUnit(price) => {
            (format!("{} {currency} for one", unit_price(Some(*price), currency)), String::new())
        }
        Rate::Package { size, price } => {
            let price = unit_price(Some(*price), currency);
            (format!("{price} {currency} for {size}"), "whole packages, begun ones too".to_owned())
        }
        Rate::Tiered { mode, tiers } => {
            let mode = match mode {
                TierMode::Graduated => "Graduated tiers",
                TierMode::Volume => "Volume tiers",
            };
            let tiers: Vec<String> = tiers.iter().map(|of| tier(of, currency)).collect();
            (mode.to_owned(), tiers.join("; "))
        }
        Rate::Credits(link) => {
            ("In credits".to_owned(), format!("one covers {} {unit}", link.units_per_credit))
        }
    }
}

fn tier(tier: &Tier, currency: Currency) -> String {
    let end = tier.up_to.map_or_else(|| "beyond".to_owned(), |end| format!("up to {end}"));
    let price = unit_price(tier.price_per_unit, currency);
    match tier.flat_fee {
        Money::ZERO => format!("{end}: {price}"),
        fee => format!("{end}: {price} + {} flat", major(fee, currency)),
    }
}

pub(super) fn tax(category: TaxCategory) -> &'static str {
    match category {
        TaxCategory::DigitalProducts => "digital_products",
        TaxCategory::Saas => "saas",
        TaxCategory::EBook => "e_book",
        TaxCategory::Edtech => "edtech",
        TaxCategory::LiveTutoring => "live_tutoring",
    }
}
