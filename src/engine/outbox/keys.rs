//! Keys of the outbox's rows: those of an endpoint stand together, and sort by what follows it.

use crate::engine::rows::{Key, RowKind, numbers_key, numbers_of};
use crate::model::{EndpointIndex, Lsn, MessageId, Timestamp};

/// The key of a message.
pub fn message(id: MessageId) -> Key {
    numbers_key(RowKind::Message, &[id.lsn.0, id.number.into()])
}

/// The id in the key of a message.
pub fn message_of(key: &[u8]) -> Option<MessageId> {
    let [lsn, number] = numbers_of(key)?;
    id(lsn, number)
}

/// The key of a message that an endpoint did not get.
pub fn undelivered(endpoint: EndpointIndex, id: MessageId) -> Key {
    let numbers = [endpoint.0.into(), id.lsn.0, id.number.into()];
    numbers_key(RowKind::Undelivered, &numbers)
}

/// The message in the key of one that an endpoint did not get.
pub fn undelivered_of(key: &[u8]) -> Option<MessageId> {
    let [_, lsn, number] = numbers_of(key)?;
    id(lsn, number)
}

/// The key of a message that is to be tried again.
pub fn retry(endpoint: EndpointIndex, due: Timestamp, id: MessageId) -> Key {
    let numbers = [endpoint.0.into(), instant(due), id.lsn.0, id.number.into()];
    numbers_key(RowKind::Retry, &numbers)
}

/// When and which, in the key of a message that is to be tried again.
pub fn retry_of(key: &[u8]) -> Option<(Timestamp, MessageId)> {
    let [_, due, lsn, number] = numbers_of(key)?;
    let due = Timestamp::from_nanos((due ^ SIGN).cast_signed());
    Some((due, id(lsn, number)?))
}

/// The key of an attempt.
pub fn attempt(endpoint: EndpointIndex, lsn: Lsn, number: u32) -> Key {
    numbers_key(RowKind::Attempt, &[endpoint.0.into(), lsn.0, number.into()])
}

/// The record and the number in the key of an attempt.
pub fn attempt_of(key: &[u8]) -> Option<(Lsn, u32)> {
    let [_, lsn, number] = numbers_of(key)?;
    Some((Lsn(lsn), u32::try_from(number).ok()?))
}

/// The key of what the last LSN was at an instant.
pub fn age(at: Timestamp) -> Key {
    numbers_key(RowKind::Age, &[instant(at)])
}

/// The instant in the key of what the last LSN was then.
pub fn age_of(key: &[u8]) -> Option<Timestamp> {
    let [at] = numbers_of(key)?;
    Some(Timestamp::from_nanos((at ^ SIGN).cast_signed()))
}

/// How the keys of an endpoint's rows of a kind begin.
pub fn of_endpoint(kind: RowKind, endpoint: EndpointIndex) -> Key {
    numbers_key(kind, &[endpoint.0.into()])
}

/// The key that stands just behind another one.
pub fn behind(key: &[u8]) -> Key {
    [key, &[0]].concat()
}

const SIGN: u64 = 1 << 63;

/// A number that sorts as the instant does.
fn instant(at: Timestamp) -> u64 {
    at.as_nanos().cast_unsigned() ^ SIGN
}

fn id(lsn: u64, number: u64) -> Option<MessageId> {
    Some(MessageId { lsn: Lsn(lsn), number: u32::try_from(number).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_what_they_hold_and_give_it_back() {
        let endpoint = EndpointIndex(7);
        let instants = [i64::MIN, -1, 0, 1, i64::MAX].map(Timestamp::from_nanos);
        let ids = [(0, 0), (1, 0), (1, 1), (256, 0), (u64::MAX, u32::MAX)];
        let ids = ids.map(|(lsn, number)| MessageId { lsn: Lsn(lsn), number });
        let mut retries = Vec::new();
        for due in instants {
            for id in ids {
                let key = retry(endpoint, due, id);
                assert_eq!(retry_of(&key), Some((due, id)));
                retries.push(key);
            }
        }
        assert!(retries.is_sorted());
        assert!(retries.iter().all(|key| *key < retry(EndpointIndex(8), Timestamp::MIN, ids[0])));
        assert!(ids.map(message).is_sorted());
        assert!(instants.map(age).is_sorted());
        for id in ids {
            assert_eq!(message_of(&message(id)), Some(id));
            assert_eq!(undelivered_of(&undelivered(endpoint, id)), Some(id));
            assert_eq!(
                attempt_of(&attempt(endpoint, id.lsn, id.number)),
                Some((id.lsn, id.number))
            );
        }
        assert!(behind(&message(ids[1])) > message(ids[1]));
        assert!(behind(&message(ids[1])) < message(ids[2]));
    }
}
