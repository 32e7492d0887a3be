//! Customers, by id and by index.
//!
//! A look-up compares hashes, not texts (see [`places`](crate::engine::places)): an ingest request asks for a
//! thousand customers, and following a pointer to each text costs a cache miss more than the table.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::engine::long_list::LongList;
use crate::engine::places::Places;
use crate::engine::{CustomerFilter, Page};
use crate::model::{Customer, CustomerId, CustomerIndex, Timestamp};

/// All customers.
#[derive(Debug, Default)]
pub struct Accounts {
    /// In the order of their indexes, which is the order of their creation.
    customers: LongList<Entry>,
    by_id: Places<CustomerIndex>,
    /// Addresses in lower case, but empty ones.
    by_email: BTreeSet<(Box<str>, CustomerIndex)>,
}

/// A customer. Those that events made and nobody has described since are most of them by far, and take
/// a tenth of the memory of a whole record.
#[derive(Debug)]
enum Entry {
    Bare { id: CustomerId, created_at: Timestamp },
    Whole(Arc<Customer>),
}

const _: () = assert!(size_of::<Entry>() == 24);

impl Accounts {
    /// Puts a customer in the place of its index: a new one behind the last, or over the old one.
    ///
    /// # Panics
    /// When the index would leave a gap: indexes are given in log order.
    pub fn put(&mut self, customer: Customer) {
        let index = customer.index;
        if !customer.email.is_empty() {
            self.by_email.insert((address(&customer.email), index));
        }
        if let Some(place) = self.customers.get_mut(index.position()) {
            let old = address(place.email());
            if old != address(&customer.email) {
                self.by_email.remove(&(old, index));
            }
            *place = Entry::new(customer);
        } else {
            assert_eq!(index, self.next_index(), "indexes have no gaps");
            self.by_id.insert(customer.id.as_str(), index);
            self.customers.push(Entry::new(customer));
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
        self.by_id.get(id)
    }

    /// The indexes of the customers with these ids, in their order.
    pub fn indexes<'i>(&self, ids: impl Iterator<Item = &'i str>) -> Vec<Option<CustomerIndex>> {
        self.by_id.get_all(ids)
    }

    /// The customer with this id.
    pub fn get(&self, id: &str) -> Option<Arc<Customer>> {
        self.at(self.index(id)?)
    }

    /// The oldest customer with this address, without regard to case; an empty one matches nobody.
    pub fn addressed(&self, email: &str) -> Option<Arc<Customer>> {
        let wanted = address(email);
        let (found, index) = self.by_email.range((wanted.clone(), CustomerIndex(0))..).next()?;
        self.at(*index).filter(|_| *found == wanted)
    }

    /// Brings the customers with these indexes into the caches, many at once: whoever asks for one after the
    /// other waits for each.
    pub fn warm(&self, all: impl Iterator<Item = CustomerIndex>) {
        for index in all {
            let found = self.customers.get(index.position());
            std::hint::black_box(found.map(|entry| match entry {
                Entry::Bare { id, .. } => id.as_str().as_bytes().first().copied(),
                Entry::Whole(customer) => customer.email.as_bytes().first().copied(),
            }));
        }
    }

    /// The customer with this index.
    pub fn at(&self, index: CustomerIndex) -> Option<Arc<Customer>> {
        self.customers.get(index.position()).map(|entry| entry.customer(index))
    }

    /// The id of the customer with this index.
    pub fn id_at(&self, index: CustomerIndex) -> Option<&CustomerId> {
        self.customers.get(index.position()).map(Entry::id)
    }

    /// The newest customers, or those before one of them, newest first.
    pub fn before(&self, below: Option<CustomerIndex>, limit: usize) -> Vec<Arc<Customer>> {
        let end = below.unwrap_or(self.next_index()).min(self.next_index());
        let newest_first = (0..end.0).rev().map(CustomerIndex);
        newest_first.take(limit).filter_map(|index| self.at(index)).collect()
    }

    /// The ids of customers in the order of their creation, from an index on.
    pub fn ids(&self, from: CustomerIndex, limit: usize) -> Vec<CustomerId> {
        let known = (from.0..self.next_index().0).map(CustomerIndex);
        known.take(limit).filter_map(|index| self.id_at(index).cloned()).collect()
    }

    /// Customers whose address begins so, without regard to case, in the order of addresses.
    pub fn addressed_like(&self, prefix: &str, limit: usize) -> Vec<Arc<Customer>> {
        let wanted = address(prefix);
        let found = self.by_email.range((wanted.clone(), CustomerIndex(0))..);
        let found = found.take_while(|(email, _)| email.starts_with(&*wanted));
        found.take(limit).filter_map(|(_, index)| self.at(*index)).collect()
    }

    /// Customers that match, newest first.
    pub fn list(&self, filter: &CustomerFilter, page: Page) -> Vec<Customer> {
        let email = filter.email.as_deref().map(str::to_lowercase);
        let name = filter.name.as_deref().map(str::to_lowercase);
        let matches = |entry: &Entry| {
            email
                .as_ref()
                .is_none_or(|email| !email.is_empty() && entry.email().to_lowercase() == *email)
                && name.as_ref().is_none_or(|part| entry.name().to_lowercase().contains(part))
                && filter.created_from.is_none_or(|from| entry.created_at() >= from)
                && filter.created_to.is_none_or(|to| entry.created_at() <= to)
        };
        let newest_first = (0..self.next_index().0).rev().map(CustomerIndex);
        let matching = newest_first
            .filter_map(|index| Some((index, self.customers.get(index.position())?)))
            .filter(|(_, entry)| matches(entry));
        let page = matching.skip(page.offset).take(page.limit);
        page.map(|(index, entry)| Arc::unwrap_or_clone(entry.customer(index))).collect()
    }
}

impl Entry {
    fn new(customer: Customer) -> Self {
        let Customer { id, index, created_at, .. } = &customer;
        if customer == Customer::from_ingest(id.clone(), *index, *created_at) {
            return Self::Bare { id: customer.id, created_at: customer.created_at };
        }
        Self::Whole(Arc::new(customer))
    }

    fn customer(&self, index: CustomerIndex) -> Arc<Customer> {
        match self {
            Self::Bare { id, created_at } => {
                Arc::new(Customer::from_ingest(id.clone(), index, *created_at))
            }
            Self::Whole(customer) => Arc::clone(customer),
        }
    }

    fn id(&self) -> &CustomerId {
        match self {
            Self::Bare { id, .. } => id,
            Self::Whole(customer) => &customer.id,
        }
    }

    fn email(&self) -> &str {
        match self {
            Self::Bare { .. } => "",
            Self::Whole(customer) => &customer.email,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Bare { .. } => "",
            Self::Whole(customer) => &customer.name,
        }
    }

    fn created_at(&self) -> Timestamp {
        match self {
            Self::Bare { created_at, .. } => *created_at,
            Self::Whole(customer) => customer.created_at,
        }
    }
}

/// The form in which addresses are compared.
fn address(email: &str) -> Box<str> {
    email.to_lowercase().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let mut accounts = Accounts::default();
        for (index, email) in ["Ada@x", "", "bo@x", "ADA@y", ""].into_iter().enumerate() {
            let index = CustomerIndex(u32::try_from(index).unwrap());
            let id = CustomerId::new(format!("c{}", index.0));
            let mut customer = Customer::from_ingest(id, index, Timestamp::default());
            email.clone_into(&mut customer.email);
            accounts.put(customer);
        }
        accounts
    }

    fn ids(found: &[Arc<Customer>]) -> Vec<&str> {
        found.iter().map(|customer| customer.id.as_str()).collect()
    }

    #[test]
    fn pages_go_back_from_the_newest_and_miss_nobody() {
        let accounts = accounts();
        assert_eq!(ids(&accounts.before(None, 2)), ["c4", "c3"]);
        assert_eq!(ids(&accounts.before(Some(CustomerIndex(3)), 2)), ["c2", "c1"]);
        assert_eq!(ids(&accounts.before(Some(CustomerIndex(1)), 2)), ["c0"]);
        assert_eq!(ids(&accounts.before(Some(CustomerIndex(0)), 2)), Vec::<&str>::new());
        assert_eq!(accounts.before(Some(CustomerIndex(99)), 9).len(), 5);
    }

    #[test]
    fn ids_come_in_the_order_of_creation() {
        let accounts = accounts();
        let texts = |from, limit| -> Vec<String> {
            accounts.ids(CustomerIndex(from), limit).iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts(0, 2), ["c0", "c1"]);
        assert_eq!(texts(3, 9), ["c3", "c4"]);
        assert_eq!(texts(5, 9), Vec::<String>::new());
        assert_eq!(texts(9, 9), Vec::<String>::new());
    }

    #[test]
    fn the_beginning_of_an_address_finds_whoever_has_it() {
        let accounts = accounts();
        assert_eq!(ids(&accounts.addressed_like("ada@", 9)), ["c0", "c3"]);
        assert_eq!(ids(&accounts.addressed_like("ADA@X", 9)), ["c0"]);
        assert_eq!(ids(&accounts.addressed_like("", 2)), ["c0", "c3"]);
        assert_eq!(ids(&accounts.addressed_like("z", 9)), Vec::<&str>::new());
    }
}
