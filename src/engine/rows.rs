//! Rows of the state that `state.redb` keeps: customers, keys, kept answers, invoices, payments,
//! checkout sessions,
//! ledgers, messages.
//!
//! A row holds the whole object as it is, so writing one twice, or an old one before a newer one,
//! does no harm.

use std::sync::Arc;

use crate::engine::pools::PoolKey;
use crate::engine::replies::Reply;
use crate::model::{ApiKey, CheckoutId, CheckoutSession, Customer, Grant, LedgerEntry, Lsn};
use crate::storage::codec;

/// The kinds of rows; the number stands first in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowKind {
    /// A [`Customer`] under its index.
    Customer,
    /// An [`ApiKey`] under its place in the order of creation.
    Key,
    /// A kept [`Reply`] under its LSN.
    Reply,
    /// [`Invoice`](crate::model::Invoice)s by their number; see [`bill_rows`](crate::engine::bill_rows).
    Invoice,
    /// [`Payment`](crate::model::Payment)s by their index; likewise.
    Payment,
    /// A [`CheckoutSession`] under its id.
    Checkout,
    /// A [`LedgerEntry`] under its pool and its id.
    Ledger,
    /// A [`Grant`] that has ended, under its pool and its id.
    Grant,
    /// A [`Notice`](crate::model::Notice) under the id of its message.
    Message,
    /// What is known of a message that an endpoint did not get, under both.
    Undelivered,
    /// That such a message is to be tried again, under endpoint, instant and message.
    Retry,
    /// An attempt to deliver a message, under the endpoint, the record that tells of it and a number.
    Attempt,
    /// The last LSN at an instant of the machine's clock, under that: so old messages are known.
    Age,
}

impl RowKind {
    /// The first byte of the keys of this kind.
    pub fn prefix(self) -> u8 {
        match self {
            Self::Customer => 1,
            Self::Key => 2,
            Self::Reply => 3,
            Self::Invoice => 4,
            Self::Payment => 5,
            Self::Checkout => 6,
            Self::Ledger => 7,
            Self::Grant => 8,
            Self::Message => 9,
            Self::Undelivered => 10,
            Self::Retry => 11,
            Self::Attempt => 12,
            Self::Age => 13,
        }
    }
}

/// One row to write, or to remove when it has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// Key and value, encoded.
    Encoded(Key, Option<Vec<u8>>),
    /// A row of a ledger, which never changes; encoded by whoever writes it.
    Ledger(Arc<LedgerEntry>),
    /// A grant of a pool that has ended; encoded by whoever writes it.
    Grant(PoolKey, Arc<Grant>),
    /// Key and value, encoded, which memory holds too.
    Shared(Bytes, Option<Bytes>),
}

/// Bytes that are shared.
pub type Bytes = Arc<[u8]>;

/// The kind's prefix and the object's key; ordered as the objects are.
pub type Key = Vec<u8>;

impl Row {
    /// The row of a customer.
    pub fn customer(customer: &Customer) -> Self {
        Self::put(key(RowKind::Customer, &ordered(u64::from(customer.index.0))), customer)
    }

    /// The row of the API key that was created as number `place`.
    pub fn key(place: usize, api_key: &ApiKey) -> Self {
        Self::put(key(RowKind::Key, &ordered(place as u64)), api_key)
    }

    /// The row of a checkout session.
    pub fn checkout(session: &CheckoutSession) -> Self {
        Self::put(key(RowKind::Checkout, session.id.as_str().as_bytes()), session)
    }

    /// The removal of a checkout session.
    pub fn no_checkout(id: &CheckoutId) -> Self {
        Self::Encoded(key(RowKind::Checkout, id.as_str().as_bytes()), None)
    }

    /// The row of a kept answer.
    pub fn reply(lsn: Lsn, reply: &Reply) -> Self {
        Self::put(key(RowKind::Reply, &ordered(lsn.0)), reply)
    }

    /// The removal of a kept answer.
    pub fn no_reply(lsn: Lsn) -> Self {
        Self::Encoded(key(RowKind::Reply, &ordered(lsn.0)), None)
    }

    fn put<T: serde::Serialize>(key: Key, object: &T) -> Self {
        Self::Encoded(key, Some(encoded(object)))
    }

    /// About how many bytes of memory it takes; of what memory holds anyway next to nothing.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Encoded(key, value) => key.len() + value.as_ref().map_or(0, Vec::len),
                Self::Ledger(_) | Self::Grant(..) | Self::Shared(..) => 0,
            }
    }

    /// Key and value, as they are written.
    pub fn encoded(&self) -> (Key, Option<Vec<u8>>) {
        match self {
            Self::Encoded(key, value) => (key.clone(), value.clone()),
            Self::Shared(key, value) => (key.to_vec(), value.as_ref().map(|value| value.to_vec())),
            Self::Ledger(row) => {
                let pool = PoolKey { entitlement: row.entitlement, customer: row.customer };
                let id = (row.id.lsn, row.id.number);
                (pool_key(RowKind::Ledger, pool, id), Some(encoded(&**row)))
            }
            Self::Grant(pool, grant) => {
                let id = (grant.id.lsn, grant.id.number);
                (pool_key(RowKind::Grant, *pool, id), Some(encoded(&**grant)))
            }
        }
    }
}

/// The encoding of a row's value.
pub fn encoded<T: serde::Serialize>(object: &T) -> Vec<u8> {
    let mut value = Vec::new();
    codec::encode(object, &mut value);
    value
}

/// The key of a row of a pool: those of a pool sort by id.
pub fn pool_key(kind: RowKind, pool: PoolKey, (lsn, number): (Lsn, u32)) -> Vec<u8> {
    let mut rest = Vec::with_capacity(32);
    let parts = [pool.entitlement.0.into(), pool.customer.0.into(), lsn.0, number.into()];
    for part in parts {
        rest.extend_from_slice(&ordered(part));
    }
    key(kind, &rest)
}

/// The LSN and the number in the key of a row of a pool.
pub fn pool_row_id(key: &[u8]) -> Option<(Lsn, u32)> {
    let mut parts = key.get(17..33)?.chunks_exact(8);
    let mut next = || parts.next()?.first_chunk().copied().map(u64::from_be_bytes);
    let (lsn, number) = (next()?, next()?);
    Some((Lsn(lsn), u32::try_from(number).ok()?))
}

/// The key under these numbers: keys of a kind sort as they do.
pub fn numbers_key(kind: RowKind, numbers: &[u64]) -> Key {
    let mut rest = Vec::with_capacity(numbers.len() * 8);
    for number in numbers {
        rest.extend_from_slice(&ordered(*number));
    }
    key(kind, &rest)
}

/// The numbers in a key that [`numbers_key`] made.
#[expect(clippy::big_endian_bytes, reason = "keys of a sorted table must sort as their numbers")]
pub fn numbers_of<const COUNT: usize>(key: &[u8]) -> Option<[u64; COUNT]> {
    let (parts, rest) = key.get(1..)?.as_chunks::<8>();
    let numbers: Vec<u64> = parts.iter().map(|part| u64::from_be_bytes(*part)).collect();
    numbers.try_into().ok().filter(|_| rest.is_empty())
}

fn key(kind: RowKind, rest: &[u8]) -> Vec<u8> {
    let mut key = vec![kind.prefix()];
    key.extend_from_slice(rest);
    key
}

/// Bytes that sort as the numbers do.
#[expect(clippy::big_endian_bytes, reason = "keys of a sorted table must sort as their numbers")]
fn ordered(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The LSN in the key of a kept answer.
#[expect(clippy::big_endian_bytes, reason = "keys of a sorted table must sort as their numbers")]
pub fn reply_lsn(key: &[u8]) -> Option<Lsn> {
    key.get(1..).and_then(|rest| rest.first_chunk()).map(|bytes| Lsn(u64::from_be_bytes(*bytes)))
}
