//! What a change of a credit entitlement leaves behind.

use std::sync::Arc;

use crate::engine::command::Refused;
use crate::engine::command::credits::{EntitlementPatch, NewEntitlement};
use crate::engine::shared::Shared;
use crate::model::{CreditEntitlement, EntitlementId};
use crate::storage::codec;

use super::{Moment, credit_terms};

/// Bytes of all entitlements together. A checkpoint writes them at once, with meters and products, as
/// one value of at most 16 MiB.
const ENTITLEMENTS_BYTES_MAX: usize = 1024 * 1024;

pub(super) fn create(
    new: &NewEntitlement,
    moment: Moment<'_>,
) -> Result<Arc<CreditEntitlement>, Refused> {
    let Moment { shared, at, .. } = moment;
    let entitlement = CreditEntitlement {
        id: EntitlementId::new(moment.new_id("cde")),
        index: shared.state.with_books(|books| books.entitlements.next()),
        name: new.name.clone(),
        description: new.description.clone(),
        unit: new.unit.clone(),
        precision: new.precision,
        terms: credit_terms::changed(credit_terms::DEFAULT, &new.terms, "")?,
        created_at: at,
        updated_at: at,
        deleted: false,
    };
    check_bytes(&entitlement, shared)?;
    Ok(Arc::new(entitlement))
}

pub(super) fn update(
    id: &EntitlementId,
    patch: &EntitlementPatch,
    moment: Moment<'_>,
) -> Result<Arc<CreditEntitlement>, Refused> {
    let Moment { shared, at, .. } = moment;
    let old = CreditEntitlement::clone(&*offered(id, shared)?);
    if patch.precision.is_some_and(|precision| precision != i64::from(old.precision)) {
        return Err(Refused::Invalid {
            field: "precision".to_owned(),
            message: format!("it is {} and never changes", old.precision),
        });
    }
    let entitlement = CreditEntitlement {
        terms: credit_terms::changed(old.terms, &patch.terms, "")?,
        name: patch.name.clone().unwrap_or(old.name),
        description: patch.description.clone().unwrap_or(old.description),
        unit: patch.unit.clone().unwrap_or(old.unit),
        updated_at: at,
        ..old
    };
    check_bytes(&entitlement, shared)?;
    Ok(Arc::new(entitlement))
}

pub(super) fn delete(
    id: &EntitlementId,
    moment: Moment<'_>,
) -> Result<Arc<CreditEntitlement>, Refused> {
    let old = CreditEntitlement::clone(&*existing(id, moment.shared)?);
    // A client that has lost the first answer may ask again.
    let updated_at = if old.deleted { old.updated_at } else { moment.at };
    Ok(Arc::new(CreditEntitlement { updated_at, deleted: true, ..old }))
}

pub(super) fn undelete(
    id: &EntitlementId,
    moment: Moment<'_>,
) -> Result<Arc<CreditEntitlement>, Refused> {
    let old = CreditEntitlement::clone(&*existing(id, moment.shared)?);
    if !old.deleted {
        return Err(Refused::Conflict("this credit entitlement is not deleted".to_owned()));
    }
    Ok(Arc::new(CreditEntitlement { updated_at: moment.at, deleted: false, ..old }))
}

/// The entitlement with this id, unless it is deleted.
fn offered(id: &EntitlementId, shared: &Shared) -> Result<Arc<CreditEntitlement>, Refused> {
    let found = existing(id, shared)?;
    if found.deleted { Err(not_found()) } else { Ok(found) }
}

fn existing(id: &EntitlementId, shared: &Shared) -> Result<Arc<CreditEntitlement>, Refused> {
    let found = shared.state.with_books(|books| books.entitlements.by_id(id).cloned());
    found.ok_or_else(not_found)
}

fn not_found() -> Refused {
    Refused::NotFound("credit entitlement")
}

fn check_bytes(changed: &CreditEntitlement, shared: &Shared) -> Result<(), Refused> {
    let mut bytes = Vec::new();
    codec::encode(changed, &mut bytes);
    shared.state.with_books(|books| {
        let all = books.entitlements.all().iter();
        for other in all.filter(|entitlement| entitlement.index != changed.index) {
            codec::encode(other, &mut bytes);
        }
    });
    if bytes.len() > ENTITLEMENTS_BYTES_MAX {
        let limit = ENTITLEMENTS_BYTES_MAX >> 20;
        let message = format!("all credit entitlements together take {limit} MiB already");
        return Err(Refused::Conflict(message));
    }
    Ok(())
}
