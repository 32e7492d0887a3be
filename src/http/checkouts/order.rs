//! What a person reads of an order before it is made, and what is asked of them.

use std::borrow::Cow;

use crate::engine::bills::{CheckoutView, OfferLine, OfferView};
use crate::engine::command::billing::ConfirmedBy;
use crate::http::countries::{country_name, is_country};
use crate::http::document::{major, moment, point_moved};
use crate::http::text;
use crate::model::checkout::{Buyer, Offer};
use crate::model::price::{Interval, IntervalUnit, MeterPrice};
use crate::model::rate::TierMode;
use crate::model::subscription::BillingAddress;
use crate::model::{Currency, Money, Rate, UnitPrice};

/// A line of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) what: String,
    /// How the amount comes about; may be empty.
    pub(super) how: String,
    pub(super) amount: String,
}

/// What usage of a meter costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) what: String,
    /// A few words for a narrow column.
    pub(super) price: String,
    /// What else there is to say, a line each.
    pub(super) more: Vec<String>,
}

/// What an open session shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) session_id: String,
    pub(super) rows: Vec<Row>,
    pub(super) total: String,
    /// Whether it may become more.
    pub(super) is_least: bool,
    /// Sentences on what is paid later.
    pub(super) terms: Vec<String>,
    pub(super) usage: Vec<Usage>,
    /// What is known of the buyer: names and values.
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) cancel_url: Option<String>,
    pub(super) until: String,
}

impl Order {
    pub(super) fn new(view: &CheckoutView, offer: &Offer, priced: &OfferView) -> Self {
        let currency = offer.currency;
        let recurring = priced.recurring.as_ref();
        let first = recurring.map(|line| Row::recurring(line, priced.trial_days, currency));
        let once = priced.once.iter().map(|line| Row::once(line, currency));
        Self {
            session_id: view.session.id.as_str().to_owned(),
            rows: first.into_iter().chain(once).collect(),
            total: money(priced.total, currency),
            is_least: priced.once.iter().any(|line| line.is_open),
            terms: recurring.map_or_else(Vec::new, |line| terms(line, priced.trial_days, currency)),
            usage: priced.meters.iter().map(|(name, meter)| usage(name, meter, currency)).collect(),
            facts: facts(view, offer),
            cancel_url: offer.cancel_url.clone(),
            until: moment(view.session.deadline()),
        }
    }
}

impl Row {
    fn once(line: &OfferLine, currency: Currency) -> Self {
        let how = how(line, currency);
        Self { what: line.name.clone(), how, amount: money(line.amount, currency) }
    }

    fn recurring(line: &OfferLine, trial_days: u32, currency: Currency) -> Self {
        if trial_days > 0 {
            let (how, amount) = (format!("free for {}", days(trial_days)), Money::ZERO);
            return Self { what: line.name.clone(), how, amount: money(amount, currency) };
        }
        Self::once(line, currency)
    }
}

/// `10.00 x 3, 12.5 % off`, as far as there is anything to say.
fn how(line: &OfferLine, currency: Currency) -> String {
    let price = major(line.price.fixed, currency);
    if line.is_open {
        let many = if line.quantity > 1 { format!(" x {}", line.quantity) } else { String::new() };
        return format!("at least {price}{many}: say below what you pay for one");
    }
    let many = match (line.quantity, line.price.discount_bps) {
        (1, 0) => None,
        (1, _) => Some(price),
        (quantity, _) => Some(format!("{price} x {quantity}")),
    };
    let off = (line.price.discount_bps > 0)
        .then(|| format!("{} % off", point_moved(&line.price.discount_bps.to_string(), 2)));
    let parts: Vec<String> = many.into_iter().chain(off).collect();
    parts.join(", ")
}

fn terms(line: &OfferLine, trial_days: u32, currency: Currency) -> Vec<String> {
    let Some(recurrence) = line.price.recurrence() else { return Vec::new() };
    let amount = money(line.amount, currency);
    let frequency = every(recurrence.payment_frequency);
    let length = span(recurrence.subscription_period);
    let renewal = if trial_days > 0 {
        let trial = days(trial_days);
        format!("{} is free for {trial}, then {amount} {frequency}, for {length}.", line.name)
    } else {
        format!("{} costs {amount} {frequency}, for {length}, from now on.", line.name)
    };
    let usage = (trial_days > 0 && !line.price.meters().is_empty())
        .then(|| "What is used while it is free is billed at the end of that time.".to_owned());
    std::iter::once(renewal).chain(usage).collect()
}

fn usage(name: &str, meter: &MeterPrice, currency: Currency) -> Usage {
    let free = (meter.free_threshold > 0)
        .then(|| format!("the first {} of each period are free", meter.free_threshold));
    let least = meter.minimum.map(|least| format!("at least {} a period", money(least, currency)));
    let most = meter.maximum.map(|most| format!("at most {} a period", money(most, currency)));
    let (price, lines) = rate(&meter.rate, currency);
    let more = free.into_iter().chain(lines).chain(least).chain(most).collect();
    Usage { what: name.to_owned(), price, more }
}

/// What units cost: a few words for a narrow column, and what else there is to say.
fn rate(rate: &Rate, currency: Currency) -> (String, Vec<String>) {
    let digits = currency.minor_digits() as usize;
    let price = |price: UnitPrice| point_moved(&price.to_string(), digits);
    match rate {
        Rate::PerUnit(unit) => (format!("{} {currency} each", price(*unit)), Vec::new()),
        Rate::Package { size, price: package } => {
            let whole = "what was begun of a package is paid whole".to_owned();
            (format!("{} {currency} per {size}", price(*package)), vec![whole])
        }
        Rate::Tiered { mode, tiers } => {
            let tiers = tiers.iter().map(|tier| {
                let unit = tier.price_per_unit.map_or_else(|| "0".to_owned(), price);
                let flat = (tier.flat_fee > Money::ZERO)
                    .then(|| format!(", and {} once", money(tier.flat_fee, currency)));
                let flat = flat.unwrap_or_default();
                match &tier.up_to {
                    Some(up_to) => format!("up to {up_to}: {unit} {currency} each{flat}"),
                    None => format!("beyond: {unit} {currency} each{flat}"),
                }
            });
            let all = match mode {
                TierMode::Graduated => None,
                TierMode::Volume => Some("all at the price of the tier that they reach".to_owned()),
            };
            ("in tiers".to_owned(), tiers.chain(all).collect())
        }
        Rate::Credits(link) => {
            let covered = format!("one credit covers {}", link.units_per_credit);
            ("in credits".to_owned(), vec![covered])
        }
    }
}

/// The amount that a person has written in whole units of a currency, with a point or a comma before what
/// is less than one.
fn minor(text: &str, currency: Currency) -> Option<Money> {
    let digits = currency.minor_digits() as usize;
    let text = text.replace(',', ".");
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > digits || !is_number(whole) || !is_number(part) {
        return None;
    }
    format!("{whole}{part:0<digits$}").parse().ok().map(Money::from_minor)
}

fn money(amount: Money, currency: Currency) -> String {
    format!("{} {currency}", major(amount, currency))
}

fn days(count: u32) -> String {
    span(Interval { count, unit: IntervalUnit::Day })
}

/// `1 month`, `3 months`.
fn span(interval: Interval) -> String {
    let unit = unit(interval.unit);
    match interval.count {
        1 => format!("1 {unit}"),
        count => format!("{count} {unit}s"),
    }
}

/// `every month`, `every 3 months`.
fn every(interval: Interval) -> String {
    match interval.count {
        1 => format!("every {}", unit(interval.unit)),
        _ => format!("every {}", span(interval)),
    }
}

fn unit(unit: IntervalUnit) -> &'static str {
    match unit {
        IntervalUnit::Day => "day",
        IntervalUnit::Week => "week",
        IntervalUnit::Month => "month",
        IntervalUnit::Year => "year",
    }
}

/// What the session knows of the buyer.
struct Known {
    name: Option<String>,
    email: Option<String>,
}

impl Known {
    fn of(view: &CheckoutView, offer: &Offer) -> Self {
        let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        match (&offer.buyer, &view.customer) {
            (Some(Buyer::Addressed { email, name, .. }), _) => {
                Self { name: name.as_deref().and_then(filled), email: filled(email) }
            }
            (Some(Buyer::Known(_)), Some(customer)) => {
                Self { name: filled(&customer.name), email: filled(&customer.email) }
            }
            (Some(Buyer::Known(_)) | None, _) => Self { name: None, email: None },
        }
    }
}

fn facts(view: &CheckoutView, offer: &Offer) -> Vec<(&'static str, String)> {
    let known = Known::of(view, offer);
    let address = offer.billing.as_ref().map(|address| {
        let place = [&address.zipcode, &address.city, &address.state];
        let place: Vec<&str> = place.into_iter().flatten().map(String::as_str).collect();
        let street = address.street.clone().unwrap_or_default();
        let lines = [street, place.join(" "), country_name(&address.country).to_owned()];
        lines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
    });
    let facts = [
        ("Name", known.name),
        ("Email", known.email),
        ("Company", offer.customer_business_name.clone()),
        ("Tax ID", offer.tax_id.clone()),
        ("Address", address),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Something that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Cow<'static, str>,
    pub(super) label: Cow<'static, str>,
    pub(super) kind: &'static str,
    pub(super) autocomplete: &'static str,
    pub(super) chars_max: usize,
    pub(super) is_required: bool,
    pub(super) is_country: bool,
    /// The least amount that it may hold, when it asks for one.
    least: Option<(Money, Currency)>,
    /// What the person has written.
    pub(super) value: String,
    /// What is wrong with it.
    pub(super) wrong: Option<String>,
}

impl Field {
    fn text(name: &'static str, label: &'static str, autocomplete: &'static str) -> Self {
        Self {
            name: name.into(),
            label: label.into(),
            autocomplete,
            kind: "text",
            chars_max: text::NAME_CHARS_MAX,
            is_required: false,
            is_country: false,
            least: None,
            value: String::new(),
            wrong: None,
        }
    }

    /// Asks what one of a product is to cost.
    fn amount(place: usize, line: &OfferLine, currency: Currency) -> Self {
        let (name, least) = (&line.name, major(line.price.fixed, currency));
        Self {
            name: format!("amount_{place}").into(),
            label: format!("What you pay for one of {name}, in {currency}: at least {least}")
                .into(),
            least: Some((line.price.fixed, currency)),
            ..Self::text("amount", "Amount", "off").required()
        }
    }

    /// Whether it asks for an amount of money.
    pub(super) fn is_amount(&self) -> bool {
        self.least.is_some()
    }

    fn required(self) -> Self {
        Self { is_required: true, ..self }
    }

    /// Looks at what was written.
    fn check(&mut self) {
        let is_too_long = self.value.chars().count() > self.chars_max;
        let wrong = if self.value.is_empty() {
            self.is_required.then_some("This is needed.")
        } else if is_too_long || self.value.chars().any(char::is_control) {
            Some("This is too long, or holds characters that cannot be printed.")
        } else if self.kind == "email" && !self.value.contains('@') {
            Some("This is no email address.")
        } else if self.is_country && !is_country(&self.value) {
            Some("Choose a country of the list.")
        } else {
            None
        };
        self.wrong = wrong.map(str::to_owned);
        if let (None, Some((least, currency))) = (&self.wrong, self.least) {
            self.wrong = match minor(&self.value, currency) {
                None => Some("This is no amount of that currency.".to_owned()),
                Some(amount) if amount < least => {
                    Some(format!("This is less than {}.", money(least, currency)))
                }
                Some(_) => None,
            };
        }
    }
}

/// What the session does not know, with what was `written` so far.
pub(super) fn fields(
    view: &CheckoutView,
    offer: &Offer,
    written: impl Fn(&str) -> Option<String>,
) -> Vec<Field> {
    let known = Known::of(view, offer);
    let mut fields = Vec::new();
    let once = view.offer.as_ref().map_or(&[][..], |priced| &priced.once);
    for (place, line) in once.iter().enumerate().filter(|(_, line)| line.is_open) {
        let suggested = line.price.pay_what_you_want().and_then(|choice| choice.suggested);
        let value = suggested.map_or_else(String::new, |amount| major(amount, offer.currency));
        fields.push(Field { value, ..Field::amount(place, line, offer.currency) });
    }
    if known.email.is_none() {
        let email = Field::text("email", "Email", "email").required();
        fields.push(Field { kind: "email", chars_max: text::EMAIL_CHARS_MAX, ..email });
    }
    if known.name.is_none() {
        fields.push(Field::text("name", "Name", "name").required());
    }
    if offer.billing.is_none() {
        if !offer.minimal_address {
            fields.push(Field::text("street", "Street and number", "street-address"));
            fields.push(Field::text("city", "City", "address-level2"));
            fields.push(Field::text("state", "State or province", "address-level1"));
        }
        fields.push(Field::text("zipcode", "Postal code", "postal-code"));
        let country = Field::text("country", "Country", "country").required();
        fields.push(Field { is_country: true, ..country });
    }
    for field in &mut fields {
        if let Some(text) = written(&field.name) {
            text.trim().clone_into(&mut field.value);
        }
    }
    fields
}

/// What was written, once all of it can be taken; the fields say what cannot.
pub(super) fn confirmed_by(fields: &mut [Field]) -> Option<ConfirmedBy> {
    fields.iter_mut().for_each(Field::check);
    if fields.iter().any(|field| field.wrong.is_some()) {
        return None;
    }
    let written = |name: &str| {
        let field = fields.iter().find(|field| field.name == name);
        field.map(|field| field.value.clone()).filter(|value| !value.is_empty())
    };
    let billing = written("country").map(|country| BillingAddress {
        country,
        city: written("city"),
        state: written("state"),
        street: written("street"),
        zipcode: written("zipcode"),
    });
    let amounts = fields.iter().filter_map(|field| minor(&field.value, field.least?.1)).collect();
    Some(ConfirmedBy { email: written("email"), name: written("name"), billing, amounts })
}
