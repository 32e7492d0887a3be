//! What a customer uses in the periods that have no invoice yet, as the upcoming invoices have it.

use crate::engine::bills::Upcoming;
use crate::http::dashboard::table::{Cell, Column, Table, number, text};
use crate::http::document::{Row, major};
use crate::model::invoice::{InvoiceLine, LineDetail, UsageLine};
use crate::model::{Currency, MeterId, Quantity, SubscriptionId};

/// One meter in one period of one subscription.
#[derive(Debug)]
pub(in super::super) struct Period<'u> {
    pub(in super::super) subscription: &'u SubscriptionId,
    pub(in super::super) meter: &'u MeterId,
    pub(in super::super) usage: &'u UsageLine,
    line: &'u InvoiceLine,
    upcoming: &'u Upcoming,
}

impl<'u> Period<'u> {
    /// Of each meter on an upcoming invoice.
    pub(in super::super) fn all(upcoming: &'u Upcoming) -> impl Iterator<Item = Self> {
        let lines = upcoming.lines.iter().zip(&upcoming.meter_ids);
        lines.filter_map(move |(line, meter)| {
            let usage = match &line.detail {
                LineDetail::Usage(usage) => usage,
                LineDetail::Fixed(_)
                | LineDetail::Unused(_)
                | LineDetail::Overage(_)
                | LineDetail::Charge(_)
                | LineDetail::Credit => return None,
            };
            let subscription = &upcoming.subscription_id;
            Some(Self { subscription, meter: meter.as_ref()?, usage, line, upcoming })
        })
    }

    /// Used, free, chargeable, the price of one, and what it comes to.
    pub(in super::super) fn cells(&self) -> Vec<Cell> {
        let currency = self.upcoming.currency;
        let row = Row::new(self.line, currency);
        vec![
            Cell::number(&self.usage.consumed),
            Cell::number(&self.usage.free_threshold),
            Cell::number(&self.usage.chargeable),
            Cell::text(row.unit_price),
            amount(self.line, currency),
        ]
    }

    /// How much of what is free is used, in hundredths; nothing where nothing is free.
    fn free_used_percent(&self) -> Option<u128> {
        let free = Quantity::from_count(self.usage.free_threshold).magnitude();
        let used = u128::try_from(self.usage.consumed.as_units()).unwrap_or(0);
        (free > 0).then(|| used.min(free) / (free / 100).max(1))
    }
}

/// The columns of [`Period::cells`].
pub(in super::super) fn columns() -> Vec<Column> {
    vec![
        number("Consumed"),
        number("Free"),
        number("Chargeable"),
        number("Price of one"),
        number("Total"),
    ]
}

/// What a customer uses, a meter a line.
pub(super) fn table(upcoming: &[Upcoming], href: &str) -> Table {
    let mut columns = vec![text("Meter"), text("Period ends"), text("Free used")];
    columns.extend(self::columns());
    let mut table = Table::new("usage", "Usage of this period", columns).exported_at(href);
    table.rows = upcoming.iter().flat_map(Period::all).map(|period| row(&period)).collect();
    table
}

fn row(period: &Period<'_>) -> Vec<Cell> {
    let state = if period.upcoming.closing { "has ended" } else { "runs" };
    let mut cells = vec![
        Cell::link(&period.usage.name, super::super::meters::path(period.meter))
            .noted(period.usage.measurement_unit.clone()),
        Cell::moment(period.upcoming.period.end).noted(format!("{state}; {}", period.subscription)),
        match period.free_used_percent() {
            None => Cell::Nothing,
            Some(percent) => Cell::Share(u8::try_from(percent.min(100)).unwrap_or(100)),
        },
    ];
    cells.extend(period.cells());
    cells
}

fn amount(line: &InvoiceLine, currency: Currency) -> Cell {
    Cell::number(&major(line.amount, currency)).noted(currency.to_string())
}
