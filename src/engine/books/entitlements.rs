//! The credit entitlements, by number and by id.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{CreditEntitlement, EntitlementId, EntitlementIndex};

/// Every credit entitlement, deleted ones too.
#[derive(Debug, Default)]
pub struct Entitlements {
    all: Vec<Arc<CreditEntitlement>>,
    ids: HashMap<EntitlementId, EntitlementIndex>,
}

impl Entitlements {
    /// Puts an entitlement in its place.
    ///
    /// # Panics
    /// When its index would leave a gap.
    pub fn put(&mut self, entitlement: Arc<CreditEntitlement>) {
        if let Some(place) = self.all.get_mut(entitlement.index.position()) {
            *place = entitlement;
        } else {
            assert_eq!(entitlement.index, self.next(), "entitlements have no gaps");
            self.ids.insert(entitlement.id.clone(), entitlement.index);
            self.all.push(entitlement);
        }
    }

    /// Every entitlement, in the order of their indexes.
    pub fn all(&self) -> &[Arc<CreditEntitlement>] {
        &self.all
    }

    /// The entitlement with this number.
    pub fn get(&self, index: EntitlementIndex) -> Option<&Arc<CreditEntitlement>> {
        self.all.get(index.position())
    }

    /// The entitlement with this id, deleted or not.
    pub fn by_id(&self, id: &EntitlementId) -> Option<&Arc<CreditEntitlement>> {
        self.get(*self.ids.get(id)?)
    }

    /// The index that the next entitlement gets.
    ///
    /// # Panics
    /// After 2^32 entitlements.
    pub fn next(&self) -> EntitlementIndex {
        EntitlementIndex(u32::try_from(self.all.len()).expect("fewer than 2^32 entitlements"))
    }
}
