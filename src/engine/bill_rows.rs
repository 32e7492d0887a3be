//! Payments and invoices on disk: a row holds a bundle of consecutive ones.
//!
//! A cycle makes one of each for every subscription, and they differ in ids and figures alone. A row for each
//! was most of what a checkpoint then did, and of what the disk wrote.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::engine::long_list::LongList;
use crate::engine::packed::Packed;
use crate::engine::rows::{Key, RowKind, numbers_key};
use crate::model::{Invoice, InvoiceNumber, Payment, PaymentIndex};
use crate::storage::bundle::{self, Packer, Unpacker, VALUES_MAX};
use crate::storage::codec;
use crate::storage::rows::{self, Batch, Table, View};
use crate::world::processor::LongWork;

/// A bundle that is packed takes about as long as so many events.
const BUNDLE_IN_EVENTS: u64 = 32;

/// Why payments or invoices could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The row store failed.
    #[error("access rows of payments and invoices")]
    Rows(#[from] rows::Error),
    /// A row is not what was written.
    #[error("read payments and invoices")]
    Bundle(#[from] bundle::Error),
    /// A payment or invoice is not what was written.
    #[error("decode a payment or invoice")]
    Codec(#[from] codec::Error),
}

impl Error {
    /// Whether what was read is not what was written.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Rows(error) => error.is_damage(),
            Self::Bundle(_) | Self::Codec(_) => true,
        }
    }
}

/// A payment or an invoice, as it was, that has no row yet.
#[derive(Clone, Debug)]
pub struct BillRow {
    place: Place,
    value: Arc<[u8]>,
}

impl BillRow {
    /// That of an invoice, which never changes.
    pub fn invoice(number: InvoiceNumber, packed: &Packed<Invoice>) -> Self {
        Self { place: Place::of_invoice(number), value: packed.share() }
    }

    /// That of a payment.
    pub fn payment(index: PaymentIndex, packed: &Packed<Payment>) -> Self {
        Self { place: Place::of_payment(index), value: packed.share() }
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.value.len()
    }
}

/// Where a payment or an invoice stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    kind: RowKind,
    number: u64,
}

impl Place {
    /// That of an invoice.
    pub fn of_invoice(number: InvoiceNumber) -> Self {
        Self { kind: RowKind::Invoice, number: number.0 }
    }

    /// That of a payment.
    pub fn of_payment(index: PaymentIndex) -> Self {
        Self { kind: RowKind::Payment, number: index.0.into() }
    }

    /// The key of the row that it is in.
    fn row(self) -> Key {
        numbers_key(self.kind, &[self.number / VALUES_MAX as u64])
    }

    /// Its place in the bundle.
    fn within(self) -> usize {
        // Fits: the remainder is below the length of a bundle.
        usize::try_from(self.number % VALUES_MAX as u64).unwrap_or(usize::MAX)
    }

    fn is_in_the_row_of(self, other: Self) -> bool {
        let row = |place: Self| (place.kind, place.number / VALUES_MAX as u64);
        row(self) == row(other)
    }
}

/// Writes payments and invoices; of those in one place the last wins.
///
/// # Errors
/// [`Error`]
pub fn write(batch: &Batch, bills: LongList<BillRow>) -> Result<(), Error> {
    let mut packing = Packing::default();
    for mut part in bills.into_parts() {
        // What stands in one place stays in order.
        part.sort_by_key(|bill| bill.place);
        let rows = part
            .chunk_by(|bill, next| bill.place.is_in_the_row_of(next.place))
            .map(|bills| packing.row(batch, bills))
            .collect::<Result<Vec<_>, Error>>()?;
        let rows = rows.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice())));
        batch.write(Table::Objects, rows)?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Packing {
    packer: Packer,
    unpacker: Unpacker,
    work: LongWork,
}

impl Packing {
    /// The row of these, which share it, with what it holds already.
    fn row(&mut self, batch: &Batch, bills: &[BillRow]) -> Result<(Key, Vec<u8>), Error> {
        self.work.advance(BUNDLE_IN_EVENTS);
        let key = bills.first().map(|bill| bill.place.row()).unwrap_or_default();
        let mut values: [&[u8]; VALUES_MAX] = Default::default();
        for bill in bills {
            if let Some(value) = values.get_mut(bill.place.within()) {
                *value = &bill.value;
            }
        }
        let is_whole = values.iter().all(|value| !value.is_empty());
        let known = if is_whole { None } else { batch.get(Table::Objects, &key)? };
        let known = known.map(|known| self.unpacker.unpack(&known)).transpose()?;
        if let Some(known) = &known {
            for (place, value) in values.iter_mut().enumerate() {
                if value.is_empty() {
                    *value = known.get(place).unwrap_or_default();
                }
            }
        }
        Ok((key, self.packer.pack(values.into_iter())))
    }
}

/// What stands at `place`.
///
/// # Errors
/// [`Error`]
pub fn read<T: DeserializeOwned>(view: &View, place: Place) -> Result<Option<T>, Error> {
    let Some(row) = view.get(Table::Objects, &place.row())? else { return Ok(None) };
    let bundle = Unpacker::default().unpack(&row)?;
    Ok(bundle.get(place.within()).map(codec::decode).transpose()?)
}

/// Shows all invoices, or all payments, to `visit`, in order.
///
/// # Errors
/// [`Error`]
pub fn visit_all<T: DeserializeOwned>(
    view: &View,
    kind: RowKind,
    mut visit: impl FnMut(T),
) -> Result<(), Error> {
    let mut unpacker = Unpacker::default();
    let (from, to) = ([kind.prefix()], [kind.prefix() + 1]);
    let mut failed = None;
    view.range(Table::Objects, &from, &to, |_, row| {
        let shown = unpacker.unpack(row).map_err(Error::from).and_then(|bundle| {
            let values = (0..VALUES_MAX).filter_map(|place| bundle.get(place));
            for value in values {
                visit(codec::decode(value)?);
            }
            Ok(())
        });
        failed = shown.err();
        failed.is_none()
    })?;
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::storage::rows::RowStore;
    use crate::world::sim::SimDisk;

    fn place(is_invoice: bool, number: u64) -> Place {
        if is_invoice {
            Place::of_invoice(InvoiceNumber(number))
        } else {
            Place::of_payment(PaymentIndex(u32::try_from(number).unwrap()))
        }
    }

    fn bill(place: Place, value: u64) -> BillRow {
        BillRow { place, value: Packed::of(&value).share() }
    }

    proptest! {
        #[test]
        fn the_last_that_was_written_is_read(
            checkpoints in prop::collection::vec(
                prop::collection::vec((any::<bool>(), 0..70_u64, any::<u64>()), 0..60),
                1..4,
            ),
        ) {
            let store = RowStore::open(&SimDisk::new()).unwrap();
            let mut model = BTreeMap::new();
            for bills in checkpoints {
                let mut list = LongList::default();
                for (is_invoice, number, value) in bills {
                    list.push(bill(place(is_invoice, number), value));
                    model.insert((is_invoice, number), value);
                }
                let batch = store.begin().unwrap();
                write(&batch, list).unwrap();
                batch.commit().unwrap();
            }
            let view = store.read().unwrap();
            for (is_invoice, kind) in [(false, RowKind::Payment), (true, RowKind::Invoice)] {
                for number in 0..100 {
                    let found = read(&view, place(is_invoice, number)).unwrap();
                    prop_assert_eq!(found, model.get(&(is_invoice, number)).copied());
                }
                let mut all: Vec<u64> = Vec::new();
                visit_all(&view, kind, |value| all.push(value)).unwrap();
                let of_kind = model.iter().filter(|((known, _), _)| *known == is_invoice);
                prop_assert_eq!(all, of_kind.map(|(_, value)| *value).collect::<Vec<_>>());
            }
        }
    }

    /// A list of many is written part by part: a bundle may begin in one and end in the next.
    #[test]
    fn thousands_fill_their_bundles() {
        const COUNT: u64 = 10_007;
        let store = RowStore::open(&SimDisk::new()).unwrap();
        let batch = store.begin().unwrap();
        let mut list = LongList::default();
        for number in 0..COUNT {
            list.push(bill(place(true, number + 1), number));
            list.push(bill(place(false, number), number));
        }
        write(&batch, list).unwrap();
        let rows = COUNT.div_ceil(VALUES_MAX as u64) * 2;
        assert_eq!(batch.count(Table::Objects).unwrap(), rows);
        batch.commit().unwrap();
        for kind in [RowKind::Payment, RowKind::Invoice] {
            let mut all: Vec<u64> = Vec::new();
            visit_all(&store.read().unwrap(), kind, |value| all.push(value)).unwrap();
            assert_eq!(all, (0..COUNT).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_row_that_is_no_bundle_is_damage() {
        let store = RowStore::open(&SimDisk::new()).unwrap();
        let (batch, at) = (store.begin().unwrap(), place(true, 5));
        batch
            .write(Table::Objects, std::iter::once((&*at.row(), Some(&b"\x05noise"[..]))))
            .unwrap();
        let mut list = LongList::default();
        list.push(bill(at, 1));
        let refused = write(&batch, list).unwrap_err();
        assert!(refused.is_damage());
        batch.commit().unwrap();
        let view = store.read().unwrap();
        assert!(read::<u64>(&view, at).unwrap_err().is_damage());
        assert!(visit_all::<u64>(&view, RowKind::Invoice, |_| ()).unwrap_err().is_damage());
        // A bundle of something else.
        let batch = store.begin().unwrap();
        let packed = Packer::default().pack([&b"\xff"[..]; 6].into_iter());
        batch.write(Table::Objects, std::iter::once((&*at.row(), Some(&*packed)))).unwrap();
        batch.commit().unwrap();
        assert!(read::<u64>(&store.read().unwrap(), at).unwrap_err().is_damage());
    }
}
