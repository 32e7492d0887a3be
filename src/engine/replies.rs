//! Answers that are kept so that a request sent again gets the same one.
//!
//! An answer with an `Idempotency-Key` is kept for a day, any answer for ten minutes of log time.
//! The answers are part of the state: they survive a restart.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::command::RequestIdentity;
use crate::engine::pools::PoolKey;
use crate::engine::record::{Change, Identity};
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
    kept: BTreeMap<Lsn, Reply>,
    by_key: HashMap<[u8; 32], Lsn>,
    /// Only answers without a key: one with a key is asked for by it, and must not hide another.
    by_content: HashMap<[u8; 32], Lsn>,
}

impl Replies {
    /// Keeps an answer.
    pub fn put(&mut self, lsn: Lsn, reply: Reply) {
        match reply.identity.explicit {
            Some(key) => self.by_key.insert(key, lsn),
            None => self.by_content.insert(reply.identity.content, lsn),
        };
        self.kept.insert(lsn, reply);
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

    fn find(&self, index: &HashMap<[u8; 32], Lsn>, digest: &[u8; 32]) -> Option<(Lsn, &Reply)> {
        let lsn = index.get(digest)?;
        Some((*lsn, self.kept.get(lsn)?))
    }

    /// Forgets the answers that nobody can ask for any more, and names them.
    pub fn forget_old(&mut self, log_time: Timestamp) -> Vec<Lsn> {
        let is_old = |reply: &Reply| {
            let kept_for = if reply.identity.explicit.is_some() { KEYED_FOR } else { RETRIED_FOR };
            log_time.since(reply.log_time) >= kept_for
        };
        let old: Vec<Lsn> =
            self.kept.iter().filter(|(_, reply)| is_old(reply)).map(|(lsn, _)| *lsn).collect();
        for lsn in &old {
            let Some(reply) = self.kept.remove(lsn) else { continue };
            if let Some(key) = reply.identity.explicit
                && self.by_key.get(&key) == Some(lsn)
            {
                self.by_key.remove(&key);
            }
            if self.by_content.get(&reply.identity.content) == Some(lsn) {
                self.by_content.remove(&reply.identity.content);
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
        assert_eq!(replies.forget_old(at(599)), []);
        assert_eq!(replies.forget_old(at(600)), [Lsn(7)]);
        assert_eq!(check(&replies, None, 2, (true, 0)), "new");
    }
}
