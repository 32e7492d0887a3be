//! Answers that are kept so that a request sent again gets the same one.
//!
//! An answer with an `Idempotency-Key` is kept for a day, any answer for ten minutes of log time.
//! The answers are part of the state: they survive a restart. A day of changes may be millions of them.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::command::RequestIdentity;
use crate::engine::pools::PoolKey;
use crate::engine::record::{Change, Identity};
use crate::engine::wide::WideMap;
use crate::model::{Lsn, PaymentId, ReservationId, Timestamp};

/// How long an answer with a key is kept.
const KEYED_FOR: Duration = Duration::from_hours(24);
/// How long an answer can be repeated to a client that says it sends the request again.
const RETRIED_FOR: Duration = Duration::from_mins(10);

/// One kept answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// What the request is recognised by.
    pub identity: Identity,
    /// When it was applied.
    pub log_time: Timestamp,
    /// What it left behind.
    pub answer: KeptAnswer,
}

/// What a kept answer is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeptAnswer {
    /// The clock was moved or confirmed.
    Clock,
    /// The object as it was left.
    Change(Change),
    /// The payment with this id, as it is when it is asked for.
    Payment(PaymentId),
    /// The last row that the record has made in the ledger of this pool.
    LedgerEntry(PoolKey),
    /// The reservation with this id, as it is when it is asked for.
    Reservation(ReservationId),
}

/// What is known of a request that may be a repetition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognised {
    /// Nothing like it was applied.
    New,
    /// It was applied; this was the answer.
    Repeated(Lsn, Box<Reply>),
    /// Its `Idempotency-Key` was used with another body.
    KeyReused,
}

/// All kept answers.
#[derive(Debug, Default)]
pub struct Replies {
    kept: WideMap<Lsn, Reply>,
    /// Those with a key and those without, in the order of their records.
    queues: [VecDeque<Lsn>; 2],
    by_key: WideMap<[u8; 32], Lsn>,
    /// Only answers without a key: one with a key is asked for by it, and must not hide another.
    by_content: WideMap<[u8; 32], Lsn>,
}

impl Replies {
    /// Keeps an answer.
    pub fn put(&mut self, lsn: Lsn, reply: Reply) {
        let [with_key, without] = &mut self.queues;
        let queue = if let Some(key) = reply.identity.explicit {
            self.by_key.insert(key, lsn);
            with_key
        } else {
            self.by_content.insert(reply.identity.content, lsn);
            without
        };
        // A start from the older checkpoint applies again what it has loaded.
        if self.kept.insert(lsn, reply).is_none() {
            queue.push_back(lsn);
        }
    }

    /// What is known of a request at this log time.
    pub fn recognise(&self, identity: &RequestIdentity, log_time: Timestamp) -> Recognised {
        if let Some((lsn, reply)) = identity.explicit.and_then(|key| self.find(&self.by_key, &key))
            && log_time.since(reply.log_time) < KEYED_FOR
        {
            return if reply.identity.content == identity.content {
                Recognised::Repeated(lsn, Box::new(reply.clone()))
            } else {
                Recognised::KeyReused
            };
        }
        match self.find(&self.by_content, &identity.content) {
            Some((lsn, reply))
                if identity.is_retry
                    && identity.explicit.is_none()
                    && log_time.since(reply.log_time) < RETRIED_FOR =>
            {
                Recognised::Repeated(lsn, Box::new(reply.clone()))
            }
            Some(_) | None => Recognised::New,
        }
    }

    fn find(&self, index: &WideMap<[u8; 32], Lsn>, digest: &[u8; 32]) -> Option<(Lsn, &Reply)> {
        let lsn = index.get(digest)?;
        Some((*lsn, self.kept.get(lsn)?))
    }

    /// Forgets answers that nobody can ask for any more, the oldest first and at most so many, and names
    /// them. When log time was set back, younger ones may wait for one that is in front of them.
    pub fn forget_old(&mut self, log_time: Timestamp, at_most: usize) -> Vec<Lsn> {
        let mut old = Vec::new();
        for (queue, kept_for) in self.queues.iter_mut().zip([KEYED_FOR, RETRIED_FOR]) {
            while old.len() < at_most
                && let Some(lsn) = queue.front()
                && let Some(reply) = self.kept.get(lsn)
                && log_time.since(reply.log_time) >= kept_for
            {
                let (index, digest) = match &reply.identity.explicit {
                    Some(key) => (&mut self.by_key, key),
                    None => (&mut self.by_content, &reply.identity.content),
                };
                if index.get(digest) == Some(lsn) {
                    index.remove(digest);
                }
                self.kept.remove(lsn);
                old.extend(queue.pop_front());
            }
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000)
    }

    fn kept(explicit: Option<u8>, content: u8) -> Replies {
        let identity =
            Identity { explicit: explicit.map(|byte| [byte; 32]), content: [content; 32] };
        let mut replies = Replies::default();
        replies.put(Lsn(7), Reply { identity, log_time: at(0), answer: KeptAnswer::Clock });
        replies
    }

    fn check(
        replies: &Replies,
        explicit: Option<u8>,
        content: u8,
        retry: (bool, i64),
    ) -> &'static str {
        let identity = RequestIdentity {
            explicit: explicit.map(|byte| [byte; 32]),
            content: [content; 32],
            is_retry: retry.0,
        };
        match replies.recognise(&identity, at(retry.1)) {
            Recognised::New => "new",
            Recognised::Repeated(lsn, _) => {
                assert_eq!(lsn, Lsn(7));
                "repeated"
            }
            Recognised::KeyReused => "reused",
        }
    }

    #[test]
    fn a_key_gives_the_first_answer_for_a_day() {
        let replies = kept(Some(1), 2);
        assert_eq!(check(&replies, Some(1), 2, (false, 86_399)), "repeated");
        assert_eq!(check(&replies, Some(1), 3, (true, 0)), "reused");
        assert_eq!(check(&replies, Some(1), 2, (false, 86_400)), "new");
        assert_eq!(check(&replies, Some(9), 2, (true, 1)), "new");
    }

    #[test]
    fn a_client_that_says_it_retries_gets_the_first_answer_for_ten_minutes() {
        let replies = kept(None, 2);
        assert_eq!(check(&replies, None, 2, (true, 599)), "repeated");
        assert_eq!(check(&replies, None, 2, (true, 600)), "new");
        assert_eq!(check(&replies, None, 2, (false, 0)), "new");
        assert_eq!(check(&replies, None, 3, (true, 0)), "new");
    }

    /// The same request was sent without a key and then with one; the retry of the first was applied
    /// again, because the second had taken its place.
    #[test]
    fn an_answer_with_a_key_hides_none_without() {
        let mut replies = kept(None, 2);
        let identity = Identity { explicit: Some([1; 32]), content: [2; 32] };
        replies.put(Lsn(8), Reply { identity, log_time: at(1), answer: KeptAnswer::Clock });
        assert_eq!(check(&replies, None, 2, (true, 2)), "repeated");
    }

    #[test]
    fn answers_are_forgotten_when_nobody_can_ask_for_them() {
        let mut replies = kept(None, 2);
        assert_eq!(replies.forget_old(at(599), 9), []);
        assert_eq!(replies.forget_old(at(600), 9), [Lsn(7)]);
        assert_eq!(check(&replies, None, 2, (true, 0)), "new");
        assert_eq!(replies.forget_old(at(600), 9), []);
    }

    #[test]
    fn as_many_are_forgotten_as_are_asked_for_and_each_once() {
        let mut replies = Replies::default();
        let put = |replies: &mut Replies, lsn: u64| {
            let explicit = lsn.is_multiple_of(2).then_some([u8::try_from(lsn).unwrap(); 32]);
            let identity = Identity { explicit, content: [u8::try_from(lsn / 4).unwrap(); 32] };
            let log_time = at(i64::try_from(lsn).unwrap());
            replies.put(Lsn(lsn), Reply { identity, log_time, answer: KeptAnswer::Clock });
        };
        (1..=8).for_each(|lsn| put(&mut replies, lsn));
        put(&mut replies, 3);
        // A minute later than a day after the sixth: all with a key but the last, all without.
        let mut forgotten = Vec::new();
        while let [Lsn(one)] = replies.forget_old(at(86_400 + 6), 1)[..] {
            forgotten.push(one);
        }
        assert_eq!(forgotten, [2, 4, 6, 1, 3, 5, 7]);
        assert_eq!((replies.kept.len(), replies.by_key.len(), replies.by_content.len()), (1, 1, 0));
    }
}
