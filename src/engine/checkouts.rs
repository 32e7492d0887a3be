//! Checkout sessions: which there are, and what becomes of them as log time passes.
//!
//! An open one ends by itself, and what it offered is forgotten then; any session is forgotten some
//! time later. Both happen as records are applied, by their log time alone. Sessions are rows, too.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::engine::rows::Row;
use crate::model::checkout::CheckoutState;
use crate::model::{CheckoutId, CheckoutSession, Timestamp};
use crate::storage::codec;

/// All sessions that are known.
#[derive(Debug, Default)]
pub struct Checkouts {
    sessions: HashMap<CheckoutId, Kept>,
    /// When something happens to a session by itself.
    deadlines: BTreeSet<(Timestamp, CheckoutId)>,
    open_bytes: u64,
}

#[derive(Debug)]
struct Kept {
    session: Arc<CheckoutSession>,
    /// What it counts among the open ones; nothing once it is not open.
    open_bytes: u64,
}

/// The bytes that an open session counts; none when it is not open.
pub fn open_bytes(session: &CheckoutSession) -> u64 {
    match session.state {
        CheckoutState::Open(_) => {
            let mut bytes = Vec::new();
            codec::encode(session, &mut bytes);
            bytes.len() as u64
        }
        CheckoutState::Ended | CheckoutState::Confirmed(_) => 0,
    }
}

impl Checkouts {
    /// Puts a session in its place.
    pub fn put(&mut self, session: Arc<CheckoutSession>) {
        self.remove(&session.id);
        self.deadlines.insert((session.deadline(), session.id.clone()));
        let open_bytes = open_bytes(&session);
        self.open_bytes += open_bytes;
        self.sessions.insert(session.id.clone(), Kept { session, open_bytes });
    }

    fn remove(&mut self, id: &CheckoutId) -> Option<Arc<CheckoutSession>> {
        let Kept { session, open_bytes } = self.sessions.remove(id)?;
        self.deadlines.remove(&(session.deadline(), session.id.clone()));
        self.open_bytes -= open_bytes;
        Some(session)
    }

    /// Whether [`Checkouts::pass`] would do anything.
    pub fn is_any_due(&self, log_time: Timestamp) -> bool {
        self.deadlines.first().is_some_and(|(deadline, _)| *deadline <= log_time)
    }

    /// Ends and forgets the sessions whose time has come, and says what becomes of their rows.
    pub fn pass(&mut self, log_time: Timestamp) -> Vec<Row> {
        let mut rows = Vec::new();
        while self.is_any_due(log_time) {
            let Some((_, id)) = self.deadlines.first().cloned() else { break };
            let Some(session) = self.remove(&id) else { break };
            match session.state {
                CheckoutState::Open(_) => {
                    let ended = CheckoutSession {
                        state: CheckoutState::Ended,
                        return_url: None,
                        ..CheckoutSession::clone(&session)
                    };
                    rows.push(Row::checkout(&ended));
                    self.put(Arc::new(ended));
                }
                CheckoutState::Ended | CheckoutState::Confirmed(_) => {
                    rows.push(Row::no_checkout(&session.id));
                }
            }
        }
        rows
    }

    /// The session with this id, as far as it is known at `now`.
    pub fn get(&self, id: &CheckoutId, now: Timestamp) -> Option<&Arc<CheckoutSession>> {
        let session = &self.sessions.get(id)?.session;
        session.is_known(now).then_some(session)
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The bytes of all sessions that are open at `now`, which is no earlier than log time.
    pub fn open_bytes(&self, now: Timestamp) -> u64 {
        let over = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        let over = over.filter_map(|(_, id)| self.sessions.get(id));
        self.open_bytes - over.map(|kept| kept.open_bytes).sum::<u64>()
    }
}
