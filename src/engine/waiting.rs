//! What has changed and waits for a checkpoint, which makes rows of it.

use crate::engine::bill_rows::BillRow;
use crate::engine::long_list::LongList;
use crate::engine::rows::Row;

/// What waits, each list in the order in which things changed.
#[derive(Debug, Default)]
pub struct Waiting {
    rows: LongList<Row>,
    bills: LongList<BillRow>,
    bytes: usize,
}

impl Waiting {
    /// Adds a row.
    pub fn push(&mut self, row: Row) {
        self.bytes += row.bytes();
        self.rows.push(row);
    }

    /// Adds a payment or an invoice.
    pub fn push_bill(&mut self, bill: BillRow) {
        self.bytes += bill.bytes();
        self.bills.push(bill);
    }

    /// About how many bytes of memory they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes all of them.
    pub fn take(&mut self) -> (LongList<Row>, LongList<BillRow>) {
        let Self { rows, bills, .. } = std::mem::take(self);
        (rows, bills)
    }
}

impl Extend<Row> for Waiting {
    fn extend<I: IntoIterator<Item = Row>>(&mut self, rows: I) {
        rows.into_iter().for_each(|row| self.push(row));
    }
}
