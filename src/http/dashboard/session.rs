//! Who is signed in: sessions in memory alone, so that a restart ends them all.
//!
//! A browser holds 32 random bytes; here is their hash with the id of the key that signed in. What the
//! key may do is asked for anew with each request, so that a deleted key ends its sessions at once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use crate::model::KeyId;

/// How long a session lasts.
pub(super) const LIFETIME: Duration = Duration::from_hours(12);
/// Sessions at a time; the oldest ends when another begins. 120 bytes each.
const SESSIONS_MAX: usize = 1_000;
/// Wrong keys that are looked at within a minute. Keys cannot be guessed; this keeps whoever tries from
/// keeping the daemon busy.
const FAILURES_MAX: u32 = 30;
const FAILURES_WITHIN: Duration = Duration::from_mins(1);

/// What a browser shows to be known: 32 random bytes.
#[derive(Clone)]
pub(super) struct Secret([u8; 32]);

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_hash: BTreeMap<[u8; 32], Session>,
    /// Hashes in the order in which sessions began; of ended ones too.
    oldest_first: VecDeque<[u8; 32]>,
    failures: u32,
    /// When the failures began to be counted.
    since: Option<Instant>,
}

#[derive(Debug)]
struct Session {
    key: KeyId,
    ends_at: Instant,
}

impl Secret {
    pub(super) fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret in a cookie's value.
    pub(super) fn read(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// The cookie's value.
    pub(super) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What pages of this session send back with everything that they change: another site may make a
    /// browser send the cookie, but cannot read this.
    pub(super) fn token(&self) -> String {
        let bytes = blake3::derive_key("quipu dashboard 1 token of a session", &self.0);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whether `text` is this session's token, in a time that does not tell where it differs.
    pub(super) fn is_token(&self, text: &str) -> bool {
        self.token().as_bytes().ct_eq(text.as_bytes()).into()
    }

    fn hash(&self) -> [u8; 32] {
        *blake3::hash(&self.0).as_bytes()
    }
}

impl Sessions {
    /// Begins a session of `key`.
    pub(super) fn begin(&self, secret: &Secret, key: KeyId, now: Instant) {
        let known = &mut *self.0.lock();
        while known.oldest_first.len() >= SESSIONS_MAX {
            if let Some(oldest) = known.oldest_first.pop_front() {
                known.by_hash.remove(&oldest);
            }
        }
        let hash = secret.hash();
        known.oldest_first.push_back(hash);
        known.by_hash.insert(hash, Session { key, ends_at: now + LIFETIME });
    }

    /// The key of the session, while it lasts.
    pub(super) fn key(&self, secret: &Secret, now: Instant) -> Option<KeyId> {
        let known = &mut *self.0.lock();
        let hash = secret.hash();
        let session = known.by_hash.get(&hash)?;
        if now < session.ends_at {
            return Some(session.key.clone());
        }
        known.by_hash.remove(&hash);
        None
    }

    /// Ends the session.
    pub(super) fn end(&self, secret: &Secret) {
        let known = &mut *self.0.lock();
        let hash = secret.hash();
        known.by_hash.remove(&hash);
        known.oldest_first.retain(|kept| *kept != hash);
    }

    /// Whether another key is looked at now.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        let known = &mut *self.0.lock();
        if known.since.is_some_and(|since| now.saturating_duration_since(since) >= FAILURES_WITHIN)
        {
            (known.failures, known.since) = (0, None);
        }
        known.failures < FAILURES_MAX
    }

    /// A key was wrong.
    pub(super) fn failed(&self, now: Instant) {
        let known = &mut *self.0.lock();
        known.failures = known.failures.saturating_add(1);
        known.since.get_or_insert(now);
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(number: u16) -> Secret {
        let mut bytes = [7; 32];
        bytes[..2].copy_from_slice(&number.to_le_bytes());
        Secret::new(bytes)
    }

    fn key(name: &str) -> KeyId {
        KeyId::new(name)
    }

    #[test]
    fn a_session_is_its_keys_until_its_time_is_over() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        assert_eq!(sessions.key(&secret(1), now), None);
        sessions.begin(&secret(1), key("a"), now);
        assert_eq!(sessions.key(&secret(1), now), Some(key("a")));
        assert_eq!(sessions.key(&secret(2), now), None);
        let last = now + LIFETIME - Duration::from_nanos(1);
        assert_eq!(sessions.key(&secret(1), last), Some(key("a")));
        assert_eq!(sessions.key(&secret(1), now + LIFETIME), None);
        assert_eq!(sessions.key(&secret(1), now), None, "what was over does not begin again");
    }

    #[test]
    fn a_session_that_was_ended_is_over() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        sessions.begin(&secret(1), key("a"), now);
        sessions.begin(&secret(2), key("a"), now);
        sessions.end(&secret(1));
        assert_eq!(sessions.key(&secret(1), now), None);
        assert_eq!(sessions.key(&secret(2), now), Some(key("a")));
    }

    #[test]
    fn the_oldest_go_first_when_there_are_too_many() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        for number in 0..1_002 {
            sessions.begin(&secret(number), key("a"), now);
        }
        assert_eq!(sessions.key(&secret(0), now), None);
        assert_eq!(sessions.key(&secret(1), now), None);
        assert!(sessions.key(&secret(2), now).is_some());
        assert_eq!(sessions.0.lock().by_hash.len(), 1_000);
        assert_eq!(sessions.0.lock().oldest_first.len(), 1_000);
    }

    #[test]
    fn thirty_wrong_keys_a_minute_are_enough() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        for _ in 0..30 {
            assert!(sessions.may_try(now));
            sessions.failed(now);
        }
        assert!(!sessions.may_try(now + FAILURES_WITHIN - Duration::from_nanos(1)));
        assert!(sessions.may_try(now + FAILURES_WITHIN));
    }

    #[test]
    fn a_cookie_reads_back_and_its_token_is_another_text() {
        let written = secret(3).text();
        assert_eq!(Secret::read(&written).unwrap().0, secret(3).0);
        assert_ne!(written, secret(3).token());
        assert!(secret(3).is_token(&secret(3).token()));
        for wrong in [secret(4).token(), String::new(), written.clone()] {
            assert!(!secret(3).is_token(&wrong), "{wrong}");
        }
        let other = ["", "x", &written[1..], &format!("{written}A"), "é"];
        assert!(other.iter().all(|text| Secret::read(text).is_none()));
    }
}
