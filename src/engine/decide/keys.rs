//! What a change of a key leaves behind.

use crate::engine::command::{NewKey, Refused};
use crate::engine::state::State;
use crate::model::{ApiKey, KeyId, Timestamp};

pub(super) fn create_key(new: &NewKey, state: &State, at: Timestamp) -> Result<ApiKey, Refused> {
    if state.key(new.id.as_str()).is_some() {
        return Err(Refused::Conflict(format!("key {} exists already", new.id)));
    }
    Ok(ApiKey {
        id: new.id.clone(),
        name: new.name.clone(),
        scope: new.scope,
        digest: new.digest,
        created_at: at,
        deleted_at: None,
    })
}

pub(super) fn delete_key(id: &KeyId, state: &State, at: Timestamp) -> Result<ApiKey, Refused> {
    let key = state.key(id.as_str()).filter(|key| key.deleted_at.is_none());
    let key = key.ok_or(Refused::NotFound("key"))?;
    Ok(ApiKey { deleted_at: Some(at), ..key })
}
