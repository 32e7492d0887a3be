//! Products: what customers subscribe to or buy.

use serde::{Deserialize, Serialize};

use crate::model::customer::Metadata;
use crate::model::id::{ProductId, ProductIndex};
use crate::model::price::Price;
use crate::model::time::Timestamp;

/// What a product is for the tax office; kept as the client said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the wire format's and say it all")]
pub enum TaxCategory {
    DigitalProducts,
    Saas,
    EBook,
    Edtech,
    LiveTutoring,
}

/// The number of one of a product's prices: 1 is the first, the highest is what new purchases pay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PriceVersion(pub u32);

impl PriceVersion {
    /// The first price of a product.
    pub const FIRST: Self = Self(1);
}

/// A product and every price that it ever had: a purchase keeps the one it was made at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// The id, `pdt_…`.
    pub id: ProductId,
    /// The number that stands for the product.
    pub index: ProductIndex,
    /// The name people read.
    pub name: String,
    /// A longer text.
    pub description: Option<String>,
    /// What it is for the tax office.
    pub tax_category: TaxCategory,
    /// Free details.
    pub metadata: Metadata,
    /// Its prices, oldest first; never empty, all of one kind.
    pub prices: Vec<Price>,
    /// Log time of the creation.
    pub created_at: Timestamp,
    /// Log time of the last change.
    pub updated_at: Timestamp,
    /// Whether it is sold no more.
    pub archived: bool,
}

impl Product {
    /// The number of the price that new purchases pay.
    pub fn version(&self) -> PriceVersion {
        // Fits: the decision on a change keeps the number of prices small.
        PriceVersion(u32::try_from(self.prices.len()).unwrap_or(u32::MAX))
    }

    /// The price with this number.
    pub fn price_at(&self, version: PriceVersion) -> Option<&Price> {
        self.prices.get((version.0 as usize).checked_sub(1)?)
    }

    /// The price that new purchases pay.
    ///
    /// # Panics
    /// When the product was made without a price.
    pub fn price(&self) -> &Price {
        self.prices.last().expect("a product has a price")
    }
}
