//! Credit entitlements as they are.

use std::sync::Arc;

use crate::engine::{Engine, Page};
use crate::model::{CreditEntitlement, EntitlementId, EntitlementIndex};

impl Engine {
    /// Credit entitlements, newest first: those that are offered, or those that are deleted.
    pub fn entitlements(&self, deleted: bool, page: Page) -> Vec<Arc<CreditEntitlement>> {
        self.shared.state.with_books(|books| {
            let newest_first = books.entitlements.all().iter().rev();
            let matching = newest_first.filter(|entitlement| entitlement.deleted == deleted);
            matching.skip(page.offset).take(page.limit).cloned().collect()
        })
    }

    /// One credit entitlement, unless it is deleted.
    pub fn entitlement(&self, id: &EntitlementId) -> Option<Arc<CreditEntitlement>> {
        let found = self.shared.state.with_books(|books| books.entitlements.by_id(id).cloned());
        found.filter(|entitlement| !entitlement.deleted)
    }

    /// The id of the credit entitlement with this number.
    pub fn entitlement_id(&self, index: EntitlementIndex) -> Option<EntitlementId> {
        self.entitlement_at(index).map(|entitlement| entitlement.id.clone())
    }

    /// The credit entitlement with this number, deleted or not.
    pub fn entitlement_at(&self, index: EntitlementIndex) -> Option<Arc<CreditEntitlement>> {
        self.shared.state.with_books(|books| books.entitlements.get(index).cloned())
    }
}
