//! Customers.

use serde::{Deserialize, Serialize};

use crate::model::id::{CustomerId, CustomerIndex};
use crate::model::time::Timestamp;

/// How a customer came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CustomerOrigin {
    /// An event named an id that nobody had created.
    Ingest,
    /// The API created or completed the record.
    Api,
}

/// A metadata value of a general object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataValue {
    /// A string.
    String(String),
    /// The text of a JSON number.
    Number(String),
    /// A boolean.
    Boolean(bool),
}

/// Metadata of a general object, in the client's order; keys are unique.
pub type Metadata = Vec<(String, MetadataValue)>;

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// The id, `cus_…` when Quipu made it.
    pub id: CustomerId,
    /// The number that stands for the customer in accumulator keys.
    pub index: CustomerIndex,
    /// The name; empty when an event made the record.
    pub name: String,
    /// The address; empty when an event made the record. Matches without regard to case.
    pub email: String,
    /// A phone number.
    pub phone_number: Option<String>,
    /// A language code of the wire format's list.
    pub preferred_locale: Option<String>,
    /// Free details.
    pub metadata: Metadata,
    /// Log time of the creation.
    pub created_at: Timestamp,
    /// Log time of the last change.
    pub updated_at: Timestamp,
    /// How the record came to be.
    pub created_by: CustomerOrigin,
}

impl Customer {
    /// The record that the first event of an unknown id makes.
    pub fn from_ingest(id: CustomerId, index: CustomerIndex, created_at: Timestamp) -> Self {
        Self {
            id,
            index,
            name: String::new(),
            email: String::new(),
            phone_number: None,
            preferred_locale: None,
            metadata: Metadata::new(),
            created_at,
            updated_at: created_at,
            created_by: CustomerOrigin::Ingest,
        }
    }
}
