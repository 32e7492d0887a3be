//! What a manual entry into a ledger of credits leaves behind.

use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hash;

use super::{Moment, Plan};
use crate::engine::command::entries::{NewEntry, NewEntryKind};
use crate::engine::command::{Outcome, Refused};
use crate::engine::pools::moves::{CreditsMove, EntryKind, ManualEntry};
use crate::engine::pools::{EntryDigest, PoolKey, view};
use crate::engine::record::{Body, CreditsEntry};
use crate::model::credit::GrantSource;
use crate::model::{CreditEntitlement, Timestamp};

/// Grants given by hand that a pool holds at once, at most: each may carry 27 KiB of details, and a
/// checkpoint writes a pool as one value of at most 16 MiB.
const GIVEN_MAX: usize = 256;

pub(super) fn enter(new: &NewEntry, moment: Moment<'_>) -> Result<Plan, Refused> {
    let Moment { shared, at, identity } = moment;
    let state = &shared.state;
    let entitlement = state.with_books(|books| {
        books.entitlements.by_id(&new.entitlement_id).map(std::sync::Arc::clone)
    });
    let entitlement = entitlement.ok_or(Refused::NotFound("credit entitlement"))?;
    let customer = state.with_accounts(|accounts| accounts.index(new.customer_id.as_str()));
    let customer = customer.ok_or(Refused::NotFound("customer"))?;
    check_amount(new, &entitlement)?;
    let pool = PoolKey { entitlement: entitlement.index, customer };
    let digest = new.idempotency_key.as_deref().map(|key| digest(pool, key));
    if let Some(digest) = digest
        && state.with_pools(|pools| pools.knows_entry(&digest))
    {
        let message = "an entry with this idempotency_key was made already";
        return Err(Refused::Conflict(message.to_owned()));
    }
    // What has come in at this very instant of a test clock is drawn before.
    let seen_from = shared.seen_from(at);
    let found = view::as_of(state, &[pool], seen_from).pools.into_iter().flatten().next();
    let kind = match new.kind {
        NewEntryKind::Credit { expires_at } => {
            if entitlement.deleted {
                return Err(Refused::NotFound("credit entitlement"));
            }
            check_expiry(expires_at, at)?;
            let is_given = |grant: &&crate::model::Grant| matches!(grant.source, GrantSource::Api);
            let given = found.map_or(0, |kept| kept.pool.grants().iter().filter(is_given).count());
            if given >= GIVEN_MAX {
                let message = format!("the customer has {GIVEN_MAX} grants of this kind already");
                return Err(Refused::Conflict(message));
            }
            EntryKind::Credit { expires_at }
        }
        NewEntryKind::Debit => {
            if !found.is_some_and(|kept| kept.pool.can_debit(new.amount, seen_from)) {
                return Err(Refused::Insufficient);
            }
            EntryKind::Debit
        }
    };
    let entry = ManualEntry {
        pool,
        kind,
        amount: new.amount,
        reason: new.reason.clone(),
        metadata: new.metadata.clone(),
        digest,
    };
    let moved = CreditsEntry { moved: CreditsMove::Entered(entry), identity };
    let bodies = vec![Body::CreditsMoved(Box::new(moved))];
    Ok(Plan { bodies, outcome: Outcome::LedgerEntry(pool) })
}

fn check_amount(new: &NewEntry, entitlement: &CreditEntitlement) -> Result<(), Refused> {
    if new.amount == new.amount.rounded_down(entitlement.precision) {
        return Ok(());
    }
    Err(Refused::Invalid {
        field: "amount".to_owned(),
        message: match entitlement.precision {
            0 => "must be a whole number".to_owned(),
            precision => format!("must have at most {precision} digits behind the point"),
        },
    })
}

fn check_expiry(expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), Refused> {
    if expires_at.is_none_or(|end| end > now) {
        return Ok(());
    }
    let message = "must lie in the future".to_owned();
    Err(Refused::Invalid { field: "expires_at".to_owned(), message })
}

/// What another entry with the same key is recognised by. Nobody gains by a collision but who enters
/// credits anyway, so that the hash needs no secret.
fn digest(pool: PoolKey, key: &str) -> EntryDigest {
    let mut hasher = SipHasher13::new();
    (pool.entitlement.0, pool.customer.0, key).hash(&mut hasher);
    hasher.finish128().as_u128().to_le_bytes()
}
