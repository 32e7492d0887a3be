//! What a change of a customer leaves behind.

use std::sync::Arc;

use crate::engine::command::{CustomerPatch, NewCustomer, Refused};
use crate::engine::state::State;
use crate::model::{Customer, CustomerId, CustomerOrigin, Timestamp};

pub(super) fn create_customer(
    new: &NewCustomer,
    state: &State,
    generated_id: Arc<str>,
    at: Timestamp,
) -> Result<Customer, Refused> {
    let id = new.id.clone().unwrap_or_else(|| CustomerId::new(generated_id));
    let existing = state.with_accounts(|accounts| accounts.get(id.as_str()));
    let base = match existing {
        Some(customer) if customer.created_by == CustomerOrigin::Ingest => {
            Arc::unwrap_or_clone(customer)
        }
        Some(_) => return Err(Refused::Conflict(format!("customer {id} exists already"))),
        None => {
            let index = state.with_accounts(crate::engine::accounts::Accounts::next_index);
            Customer::from_ingest(id, index, at)
        }
    };
    Ok(Customer {
        name: new.name.clone(),
        email: new.email.clone(),
        phone_number: new.phone_number.clone(),
        preferred_locale: new.preferred_locale.clone(),
        metadata: new.metadata.clone(),
        updated_at: at,
        created_by: CustomerOrigin::Api,
        ..base
    })
}

pub(super) fn update_customer(
    id: &CustomerId,
    patch: &CustomerPatch,
    state: &State,
    at: Timestamp,
) -> Result<Customer, Refused> {
    let existing = state.with_accounts(|accounts| accounts.get(id.as_str()));
    let customer = Arc::unwrap_or_clone(existing.ok_or(Refused::NotFound("customer"))?);
    Ok(Customer {
        name: patch.name.clone().unwrap_or(customer.name),
        email: patch.email.clone().unwrap_or(customer.email),
        phone_number: patch.phone_number.clone().unwrap_or(customer.phone_number),
        preferred_locale: patch.preferred_locale.clone().unwrap_or(customer.preferred_locale),
        metadata: patch.metadata.clone().unwrap_or(customer.metadata),
        updated_at: at,
        ..customer
    })
}
