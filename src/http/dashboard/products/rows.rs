//! The rows of the pricing form: a meter, a tier, credits. The script adds more from a blank one.

use askama::Template;
use askama::filters::HtmlSafe;

use super::filled::Filled;
use crate::engine::{Engine, Page};

/// What can be chosen from, at most.
const CHOICES_MAX: usize = 1_000;
/// Where a row stands in the list that the script adds: it writes the number.
const BLANK: &str = "new";

/// What the rows choose from: ids and names.
#[derive(Clone, Debug)]
pub(super) struct Choices {
    pub(super) meters: Vec<(String, String)>,
    pub(super) entitlements: Vec<(String, String)>,
}

/// A meter of a price.
#[derive(Debug, Template)]
#[template(path = "dashboard/product_meter.html", config = ".config/askama.toml")]
pub(super) struct MeterRow {
    /// Its number, from 0.
    place: String,
    of: Filled,
    model: &'static str,
    tiers: Vec<TierRow>,
    blank_tier: TierRow,
    choices: Choices,
}

/// A tier of a meter.
#[derive(Debug, Template)]
#[template(path = "dashboard/product_tier.html", config = ".config/askama.toml")]
pub(super) struct TierRow {
    meter: String,
    place: String,
    of: Filled,
}

/// What is handed out of a credit entitlement.
#[derive(Debug, Template)]
#[template(path = "dashboard/product_credit.html", config = ".config/askama.toml")]
pub(super) struct CreditRow {
    place: String,
    of: Filled,
    choices: Choices,
}

// Every value in them goes through the templates' escaping.
impl HtmlSafe for MeterRow {}
impl HtmlSafe for TierRow {}
impl HtmlSafe for CreditRow {}

impl Choices {
    pub(super) fn of(engine: &Engine) -> Self {
        let page = Page { offset: 0, limit: CHOICES_MAX };
        let meters = engine.meters(false, page).into_iter();
        let meters = meters.map(|meter| (meter.id.to_string(), meter.name.clone()));
        let entitlements = engine.entitlements(false, page).into_iter();
        let entitlements = entitlements.map(|of| (of.id.to_string(), of.name.clone()));
        Self { meters: meters.collect(), entitlements: entitlements.collect() }
    }
}

impl MeterRow {
    fn new(place: &str, of: Filled, choices: &Choices) -> Self {
        let tiers = of.list("tiers").into_iter().enumerate();
        let tiers: Vec<TierRow> =
            tiers.map(|(tier, of)| TierRow::new(place, &tier.to_string(), of)).collect();
        let is_tiered = !tiers.is_empty();
        Self {
            model: model(&of),
            // The script takes the last one away only when there is another.
            tiers: if is_tiered {
                tiers
            } else {
                vec![TierRow::new(place, "0", Filled::default())]
            },
            blank_tier: TierRow::new(place, BLANK, Filled::default()),
            place: place.to_owned(),
            of,
            choices: choices.clone(),
        }
    }

    /// The rows of a price.
    pub(super) fn all(price: &Filled, choices: &Choices) -> Vec<Self> {
        let meters = price.list("meters").into_iter().enumerate();
        meters.map(|(place, of)| Self::new(&place.to_string(), of, choices)).collect()
    }

    pub(super) fn blank(choices: &Choices) -> Self {
        Self::new(BLANK, Filled::default(), choices)
    }
}

/// Which kind of rate a meter has.
fn model(of: &Filled) -> &'static str {
    if of.has("credit_entitlement_id") {
        "credits"
    } else if of.is("tier_mode", "volume") {
        "volume"
    } else if of.has("tier_mode") {
        "graduated"
    } else if of.has("package_size") {
        "package"
    } else {
        "unit"
    }
}

impl TierRow {
    fn new(meter: &str, place: &str, of: Filled) -> Self {
        Self { meter: meter.to_owned(), place: place.to_owned(), of }
    }
}

impl CreditRow {
    /// The rows of what a product hands out.
    pub(super) fn all(handed_out: Vec<Filled>, choices: &Choices) -> Vec<Self> {
        let rows = handed_out.into_iter().enumerate();
        rows.map(|(place, of)| Self { place: place.to_string(), of, choices: choices.clone() })
            .collect()
    }

    pub(super) fn blank(choices: &Choices) -> Self {
        Self { place: BLANK.to_owned(), of: Filled::default(), choices: choices.clone() }
    }
}
