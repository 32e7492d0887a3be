//! Payments and invoices in the codec's form: as they stand in the log, as their rows hold them, and as memory
//! keeps them until a checkpoint has written those.
//!
//! A close makes one of each, and a cycle of a million subscriptions makes them faster than checkpoints write
//! them. Packed they take a third of the memory of the objects; and since they are cut out of the record's own
//! encoding, nobody encodes them twice.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::record::{ClosedEntry, Entry, encode_entry, measured};
use crate::model::{Invoice, Payment};
use crate::storage::codec;

/// The number of [`Body::CycleClosed`](crate::engine::record::Body::CycleClosed) in the encoding.
const VARIANT_CLOSED: u32 = 5;

/// An object in the codec's form; clones share it.
pub struct Packed<T> {
    bytes: Arc<[u8]>,
    object: PhantomData<fn() -> T>,
}

impl<T> Packed<T> {
    /// The object in this form.
    pub fn of(object: &T) -> Self
    where
        T: Serialize,
    {
        let mut bytes = Vec::new();
        codec::encode(object, &mut bytes);
        Self::cut_out(&bytes)
    }

    fn cut_out(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), object: PhantomData }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, shared.
    pub fn share(&self) -> Arc<[u8]> {
        Arc::clone(&self.bytes)
    }

    /// The object.
    ///
    /// # Errors
    /// [`codec::Error`]: never, because these are bytes that this process has encoded.
    pub fn unpack(&self) -> Result<T, codec::Error>
    where
        T: DeserializeOwned,
    {
        codec::decode(&self.bytes)
    }
}

impl<T> Clone for Packed<T> {
    fn clone(&self) -> Self {
        Self { bytes: Arc::clone(&self.bytes), object: PhantomData }
    }
}

impl<T> PartialEq for Packed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<T> Eq for Packed<T> {}

impl<T> fmt::Debug for Packed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({} bytes)", self.bytes.len())
    }
}

/// What a record of a payment makes rows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedBill {
    /// The payment.
    pub payment: Packed<Payment>,
    /// Its invoice, when the record makes one.
    pub invoice: Option<Packed<Invoice>>,
}

impl PackedBill {
    /// That of a record that was encoded without looking.
    pub fn of(entry: &ClosedEntry) -> Self {
        let invoice = entry.invoice.as_deref().map(Packed::of);
        Self { payment: Packed::of(&*entry.payment), invoice }
    }
}

/// Appends an entry to a payload, as [`encode_entry`] does, and gives what stands there of a payment.
pub fn encode_and_pack(entry: &Entry<'_>, out: &mut Vec<u8>) -> Option<PackedBill> {
    let closed = entry.body.closed();
    if closed.is_none() {
        encode_entry(entry, out);
    }
    closed.map(|closed| encode_closed(entry, closed, out))
}

/// Field by field what encoding the whole entry makes.
fn encode_closed(entry: &Entry<'_>, closed: &ClosedEntry, out: &mut Vec<u8>) -> PackedBill {
    fn cut<T: Serialize>(object: &T, out: &mut Vec<u8>) -> Packed<T> {
        let start = out.len();
        codec::encode(object, out);
        Packed::cut_out(out.get(start..).unwrap_or_default())
    }
    measured(out, |out| {
        let ClosedEntry { payment, invoice, subscription, identity } = closed;
        codec::encode(&(entry.log_time, VARIANT_CLOSED), out);
        let payment = cut(&**payment, out);
        // What may be missing begins as a truth value.
        codec::encode(&invoice.is_some(), out);
        let invoice = invoice.as_deref().map(|invoice| cut(invoice, out));
        codec::encode(&(subscription, identity), out);
        PackedBill { payment, invoice }
    })
}
