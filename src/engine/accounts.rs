//! Customers, by id and by index.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::engine::{CustomerFilter, Page};
use crate::model::{Customer, CustomerId, CustomerIndex};

/// All customers.
#[derive(Debug, Default)]
pub struct Accounts {
    /// In the order of their indexes, which is the order of their creation.
    customers: Vec<Arc<Customer>>,
    by_id: HashMap<CustomerId, CustomerIndex, std::hash::RandomState>,
}

impl Accounts {
    /// Puts a customer in the place of its index: a new one behind the last, or over the old one.
    ///
    /// # Panics
    /// When the index would leave a gap: indexes are given in log order.
    pub fn put(&mut self, customer: Customer) {
        let customer = Arc::new(customer);
        if let Some(place) = self.customers.get_mut(customer.index.position()) {
            *place = customer;
        } else {
            assert_eq!(customer.index, self.next_index(), "indexes have no gaps");
            self.by_id.insert(customer.id.clone(), customer.index);
            self.customers.push(customer);
        }
    }

    /// The index that the next new customer gets.
    ///
    /// # Panics
    /// After 2^32 customers.
    pub fn next_index(&self) -> CustomerIndex {
        CustomerIndex(u32::try_from(self.customers.len()).expect("fewer than 2^32 customers"))
    }

    /// The index of the customer with this id.
    pub fn index(&self, id: &str) -> Option<CustomerIndex> {
        self.by_id.get(id).copied()
    }

    /// The customer with this id.
    pub fn get(&self, id: &str) -> Option<&Arc<Customer>> {
        self.at(self.index(id)?)
    }

    /// The customer with this index.
    pub fn at(&self, index: CustomerIndex) -> Option<&Arc<Customer>> {
        self.customers.get(index.position())
    }

    /// Customers that match, newest first.
    pub fn list(&self, filter: &CustomerFilter, page: Page) -> Vec<Customer> {
        let email = filter.email.as_deref().map(str::to_lowercase);
        let name = filter.name.as_deref().map(str::to_lowercase);
        let matches = |customer: &&Arc<Customer>| {
            email
                .as_ref()
                .is_none_or(|email| !email.is_empty() && customer.email.to_lowercase() == *email)
                && name.as_ref().is_none_or(|part| customer.name.to_lowercase().contains(part))
                && filter.created_from.is_none_or(|from| customer.created_at >= from)
                && filter.created_to.is_none_or(|to| customer.created_at <= to)
        };
        let newest_first = self.customers.iter().rev();
        let matching = newest_first.filter(matches).skip(page.offset).take(page.limit);
        matching.map(|customer| Customer::clone(customer)).collect()
    }
}
