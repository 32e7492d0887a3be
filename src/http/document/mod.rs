//! An invoice for people: the same texts as a page and as a PDF.
//!
//! Amounts are in the currency's major unit with all digits of its minor one. Everything is text that
//! was made here or stands on the invoice; nothing is looked up elsewhere.

mod html;
mod pdf;
mod usage;

use crate::engine::bills::InvoiceView;
use crate::http::invoice_line::description;
use crate::model::invoice::{BillTo, InvoiceLine, LineDetail};
use crate::model::{Currency, Money, Timestamp};

pub(crate) use html::html;
pub(crate) use pdf::pdf;
pub(crate) use usage::unit_price;

/// What is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    number: u64,
    /// What the invoice says of itself: names and values.
    facts: Vec<(&'static str, String)>,
    /// Who it is made out to, line by line.
    bill_to: Vec<String>,
    rows: Vec<Row>,
    total: String,
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) what: String,
    /// What is paid for, or how the quantity came about, line by line; empty for a purchase at its full
    /// price.
    pub(crate) how: Vec<String>,
    pub(crate) quantity: String,
    pub(crate) unit_price: String,
    pub(crate) amount: String,
}

impl Document {
    /// The invoice as it is printed.
    pub(crate) fn new(view: &InvoiceView) -> Self {
        let invoice = &view.invoice;
        let currency = invoice.currency;
        let subscription = view.subscription_id.as_ref();
        let facts = [
            ("Invoice", Some(format!("{} ({})", invoice.number.0, invoice.id))),
            ("Due", Some(moment(invoice.due_at))),
            ("Issued", Some(moment(invoice.created_at))),
            ("Period", invoice.period.map(|paid| period(paid.start, paid.end))),
            ("Subscription", subscription.map(ToString::to_string)),
        ];
        let facts = facts.into_iter().filter_map(|(name, value)| Some((name, value?)));
        Self {
            number: invoice.number.0,
            facts: facts.collect(),
            bill_to: bill_to(&invoice.bill_to),
            rows: invoice.lines.iter().map(|line| Row::new(line, currency)).collect(),
            total: format!("{} {currency}", major(invoice.total, currency)),
        }
    }

    /// The invoice's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// What each line is for, how it came about, and what it comes to.
    pub(crate) fn rows(&self) -> impl Iterator<Item = [String; 3]> {
        let cells = |row: &Row| [row.what.clone(), row.how.join(", "), row.amount.clone()];
        self.rows.iter().map(cells)
    }

    /// The sum, with its currency.
    pub(crate) fn total(&self) -> &str {
        &self.total
    }
}

impl Row {
    /// The line as people read it.
    pub(crate) fn new(line: &InvoiceLine, currency: Currency) -> Self {
        let (how, quantity, unit_price) = match &line.detail {
            LineDetail::Fixed(fixed) | LineDetail::Unused(fixed) => {
                let paid_for = fixed.period.map(|paid| period(paid.start, paid.end));
                let share = fixed.share.map(|share| format!("{} of a period", share.to_decimal()));
                let off = (fixed.discount_bps > 0)
                    .then(|| format!("{} % off", point_moved(&fixed.discount_bps.to_string(), 2)));
                let how: Vec<String> = paid_for.into_iter().chain(share).chain(off).collect();
                let how = if how.is_empty() { how } else { vec![how.join(", ")] };
                (how, fixed.quantity.to_string(), major(fixed.price, currency))
            }
            LineDetail::Charge(charge) => {
                let how = charge.description.iter().cloned().collect();
                (how, "1".to_owned(), major(line.amount, currency))
            }
            LineDetail::Overage(overage) => {
                let price = usage::unit_price(Some(overage.price), currency);
                (Vec::new(), overage.credits.to_string(), price)
            }
            LineDetail::Credit => (Vec::new(), String::new(), String::new()),
            LineDetail::Usage(line) => {
                let (quantity, unit_price, how) = usage::usage(line, currency);
                (how, quantity, unit_price)
            }
        };
        Self {
            what: description(line),
            how,
            quantity,
            unit_price,
            amount: major(line.amount, currency),
        }
    }
}

fn bill_to(who: &BillTo) -> Vec<String> {
    let address = &who.address;
    let place = [&address.zipcode, &address.city, &address.state];
    let place: Vec<&str> = place.into_iter().flatten().map(String::as_str).collect();
    let tax_id = who.tax_id.as_ref().map(|id| format!("Tax ID {id}"));
    let lines = [
        who.business_name.clone(),
        Some(who.name.clone()),
        Some(who.email.clone()),
        address.street.clone(),
        Some(place.join(" ")),
        Some(address.country.clone()),
        tax_id,
    ];
    lines.into_iter().flatten().filter(|line| !line.is_empty()).collect()
}

/// An instant to the minute, for people.
pub(crate) fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    // `2026-11-22T10:00:00Z`: the date and the time, as far as they are there.
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{date} {} UTC", time.get(..5).unwrap_or(time))
}

fn period(start: Timestamp, end: Timestamp) -> String {
    format!("{} to {}", moment(start), moment(end))
}

/// An amount in the major unit, with every digit of the minor one.
pub(crate) fn major(amount: Money, currency: Currency) -> String {
    let units = amount.as_minor();
    let digits = currency.minor_digits() as usize;
    let text = format!("{:0width$}", units.unsigned_abs(), width = digits + 1);
    let (whole, rest) = text.split_at(text.len() - digits);
    let sign = if units < 0 { "-" } else { "" };
    if rest.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest}") }
}

/// A decimal number divided by 10^`places`, digit for digit.
pub(crate) fn point_moved(number: &str, places: usize) -> String {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let padded = format!("{whole:0>width$}", width = places + 1);
    let (whole, moved) = padded.split_at(padded.len() - places);
    let fraction = format!("{moved}{fraction}");
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use crate::billing::{self, Measure};
    use crate::model::invoice::{FixedLine, Invoice, InvoiceCause, UsageLine};
    use crate::model::price::MeterPrice;
    use crate::model::subscription::BillingAddress;
    use crate::model::{
        CustomerId, CustomerIndex, InvoiceId, InvoiceNumber, Lsn, MeterId, MeterIndex, Period,
        PriceVersion, ProductId, ProductIndex, Quantity, Rate, SubscriptionId, SubscriptionIndex,
        UnitPrice, Used,
    };

    use super::*;

    /// A line of so many tokens at a price, with the free ones.
    pub(in crate::http) fn usage(rate: Rate, free_threshold: u64, consumed: u64) -> UsageLine {
        let meter = MeterIndex(0);
        let (consumed, used) = (Quantity::from_count(consumed), Used::default());
        let price = MeterPrice { meter, rate, free_threshold, minimum: None, maximum: None };
        let rated = billing::rate(consumed, Measure::Additive, &price, &used, true).unwrap();
        UsageLine {
            meter,
            name: "Tokens".to_owned(),
            measurement_unit: "tokens".to_owned(),
            consumed,
            free_threshold,
            chargeable: rated.chargeable,
            rate: price.rate,
            position: rated.position,
            shares: rated.shares,
            minimum: None,
            maximum: None,
            bound: None,
            used,
            lsns: Some((Lsn(3), Lsn(9))),
        }
    }

    /// An invoice of 4900 and 1500 units at 2, made out to `name`, with `lines` more lines.
    pub(in crate::http) fn sample(name: &str, more_lines: usize) -> InvoiceView {
        let at = |text| Timestamp::parse(text).unwrap();
        let period = Period { start: at("2026-10-22T10:00:00Z"), end: at("2026-11-22T10:00:00Z") };
        let next = Period { start: period.end, end: at("2026-12-22T10:00:00Z") };
        let line = |detail, amount| InvoiceLine {
            product: ProductIndex(0),
            price_version: PriceVersion(2),
            detail,
            amount: Money::from_minor(amount),
        };
        let fixed = FixedLine {
            name: "Plan".to_owned(),
            price: Money::from_minor(4900),
            quantity: 1,
            discount_bps: 0,
            period: Some(next),
            share: None,
        };
        let two = Rate::PerUnit(UnitPrice::parse("2").unwrap());
        let usage = usage(two, 1_000, 2_500);
        let mut lines = vec![line(LineDetail::Fixed(fixed), 4900)];
        let usages =
            std::iter::repeat_with(|| line(LineDetail::Usage(Box::new(usage.clone())), 3000));
        lines.extend(usages.take(1 + more_lines));
        let total = Money::checked_sum(lines.iter().map(|line| line.amount)).unwrap();
        let invoice = Invoice {
            id: InvoiceId::new("inv_1"),
            number: InvoiceNumber(12),
            cause: InvoiceCause::Closed(0),
            subscription: Some(SubscriptionIndex(0)),
            customer: CustomerIndex(0),
            bill_to: BillTo {
                name: name.to_owned(),
                email: "a@b.example".to_owned(),
                business_name: None,
                tax_id: Some("T-1".to_owned()),
                address: Arc::new(BillingAddress {
                    country: "PE".to_owned(),
                    city: Some("Cusco".to_owned()),
                    state: None,
                    street: None,
                    zipcode: Some("08000".to_owned()),
                }),
            },
            currency: Currency::from_code("USD").unwrap(),
            total,
            period: Some(period),
            due_at: period.end,
            created_at: at("2026-11-22T11:10:00.25Z"),
            cut_off_lsn: Lsn(9),
            lines,
        };
        InvoiceView {
            customer_id: CustomerId::new("cus_1"),
            subscription_id: Some(SubscriptionId::new("sub_1")),
            meter_ids: std::iter::once(None)
                .chain(std::iter::repeat_n(Some(MeterId::new("mtr_1")), 1 + more_lines))
                .collect(),
            product_ids: vec![ProductId::new("pdt_1"); 2 + more_lines],
            invoice: Arc::new(invoice),
        }
    }

    /// An invoice of three books at 1000, without a subscription.
    pub(in crate::http) fn purchase() -> InvoiceView {
        let view = sample("Ada", 0);
        let detail = LineDetail::Fixed(FixedLine {
            name: "Book".to_owned(),
            price: Money::from_minor(1000),
            quantity: 3,
            discount_bps: 0,
            period: None,
            share: None,
        });
        let amount = Money::from_minor(3000);
        let line = InvoiceLine { detail, amount, ..view.invoice.lines[0].clone() };
        let invoice = Invoice {
            cause: InvoiceCause::Cart,
            subscription: None,
            period: None,
            total: amount,
            lines: vec![line],
            ..Invoice::clone(&view.invoice)
        };
        InvoiceView {
            subscription_id: None,
            meter_ids: vec![None],
            product_ids: vec![ProductId::new("pdt_1")],
            invoice: Arc::new(invoice),
            ..view
        }
    }

    #[test]
    fn amounts_have_every_digit_of_the_minor_unit() {
        for (units, code, expected) in [
            (3000, "USD", "30.00"),
            (5, "USD", "0.05"),
            (-5, "USD", "-0.05"),
            (0, "USD", "0.00"),
            (1234, "JPY", "1234"),
            (1234, "KWD", "1.234"),
            (i64::MIN, "USD", "-92233720368547758.08"),
        ] {
            let currency = Currency::from_code(code).unwrap();
            assert_eq!(major(Money::from_minor(units), currency), expected);
        }
    }

    #[test]
    fn unit_prices_keep_every_digit() {
        for (price, places, expected) in [
            ("2", 2, "0.02"),
            ("0.000225", 2, "0.00000225"),
            ("99999.999999999999", 2, "999.99999999999999"),
            ("100", 2, "1"),
            ("12.5", 0, "12.5"),
            ("1", 3, "0.001"),
        ] {
            assert_eq!(point_moved(price, places), expected);
        }
    }

    #[test]
    fn a_purchase_has_neither_period_nor_subscription() {
        let document = Document::new(&purchase());
        let names: Vec<&str> = document.facts.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["Invoice", "Due", "Issued"]);
        let row = &document.rows[0];
        assert_eq!((row.what.as_str(), row.how.as_slice()), ("Book x 3", &[][..]));
        let mut view = purchase();
        let invoice = Arc::make_mut(&mut view.invoice);
        let LineDetail::Fixed(fixed) = &mut invoice.lines[0].detail else { panic!("it is fixed") };
        fixed.discount_bps = 1_250;
        assert_eq!(Document::new(&view).rows[0].how, ["12.5 % off"]);
    }

    #[test]
    fn the_document_says_what_the_invoice_says() {
        let document = Document::new(&sample("Ada", 0));
        assert_eq!(document.bill_to, ["Ada", "a@b.example", "08000 Cusco", "PE", "Tax ID T-1"]);
        assert_eq!(document.total, "79.00 USD");
        assert_eq!(
            document.rows[1],
            Row {
                what: "Tokens (tokens)".to_owned(),
                how: vec!["used 2500, free 1000".to_owned()],
                quantity: "1500".to_owned(),
                unit_price: "0.02".to_owned(),
                amount: "30.00".to_owned(),
            }
        );
    }
}
