//! What a close bills of usage beyond credits.

use std::sync::Arc;

use crate::billing::credits::{Attached, Ids, Pool, passage};
use crate::engine::shared::Shared;
use crate::engine::state::credits::{attachment, settle_late};
use crate::model::invoice::OverageLine;
use crate::model::{Lsn, Subscription, Timestamp};

/// The overage that the close of a segment bills, in the order in which the customer got the pools. Of one
/// that is still running, `turned` is the subscription after its end: what it would be then.
pub(in crate::engine) fn overage(
    shared: &Shared,
    subscription: &Subscription,
    turned: Option<&Subscription>,
    segment: u32,
) -> Vec<OverageLine> {
    let pools: Vec<Pool> = shared.state.with_pools(|pools| {
        let own = pools.of_customer(subscription.customer).iter();
        let own = own.filter_map(|index| pools.get(*index));
        let concerned = own.filter(|kept| {
            kept.pool.concerns(subscription.index)
                || kept.pool.dues(subscription.index, Some(segment)).next().is_some()
        });
        concerned.map(|kept| kept.pool.clone()).collect()
    });
    let mut lines = Vec::new();
    for mut pool in pools {
        let ids = &mut Ids::of(Lsn::ZERO);
        if let Some(turned) = turned {
            let before = attachment(subscription, pool.entitlement());
            let attached = Attached { before, after: None };
            let passage = passage(Some(subscription), turned);
            drop(pool.pass(&passage, subscription.index, attached, ids));
        } else {
            drop(settle_late(&mut pool, subscription, segment, Timestamp::MAX, ids));
        }
        let entitlement = shared
            .state
            .with_books(|books| books.entitlements.get(pool.entitlement()).map(Arc::clone));
        let Some(entitlement) = entitlement else { continue };
        let dues = pool.dues(subscription.index, Some(segment));
        lines.extend(dues.map(|due| OverageLine {
            entitlement: entitlement.index,
            name: entitlement.name.clone(),
            unit: entitlement.unit.clone(),
            credits: due.credits,
            price: due.price,
        }));
    }
    lines
}
