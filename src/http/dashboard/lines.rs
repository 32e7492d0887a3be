//! Lines of a bill as people read them, the same words as on a printed invoice.

use super::table::{Cell, Table, number, text};
use crate::http::document::Row;
use crate::model::Currency;
use crate::model::invoice::InvoiceLine;

/// A table of lines.
pub(super) fn table(
    name: &'static str,
    caption: &str,
    lines: &[InvoiceLine],
    currency: Currency,
) -> Table {
    let columns = vec![text("Line"), number("Quantity"), number("Unit price"), number("Amount")];
    let mut table = Table::new(name, caption, columns);
    table.rows = lines.iter().map(|line| cells(Row::new(line, currency))).collect();
    table
}

fn cells(row: Row) -> Vec<Cell> {
    let what = Cell::text(row.what);
    let what = if row.how.is_empty() { what } else { what.noted(row.how.join("; ")) };
    vec![
        what,
        number_or_words(row.quantity),
        number_or_words(row.unit_price),
        Cell::number(&row.amount),
    ]
}

/// A quantity or a price, in whose place words may stand such as `by tier`.
pub(super) fn number_or_words(shown: String) -> Cell {
    let is_number = shown.bytes().any(|byte| byte.is_ascii_digit())
        && shown.bytes().all(|byte| byte.is_ascii_digit() || b"-.".contains(&byte));
    if is_number { Cell::Number(shown) } else { Cell::text(shown) }
}
