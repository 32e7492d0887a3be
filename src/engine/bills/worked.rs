//! What a price would bill for an example of usage.

use crate::billing::example::{self, Example, Worked};
use crate::engine::Engine;
use crate::engine::command::Refused;
use crate::engine::command::billing::NewPrice;
use crate::engine::command::credits::NewAttachment;
use crate::engine::decide::new_price;
use crate::model::{Currency, Product, Quantity};

/// The price that is asked about.
#[derive(Clone, Copy, Debug)]
pub enum WorkedPrice<'a> {
    /// One that could be made.
    New {
        /// The price.
        price: &'a NewPrice,
        /// What is handed out with it.
        credits: &'a [NewAttachment],
    },
    /// That of new purchases of a product.
    Of(&'a Product),
}

/// An example that was worked out.
#[derive(Clone, Debug)]
pub struct WorkedExample {
    /// The currency of every amount.
    pub currency: Currency,
    /// The bill, and what became of credits.
    pub worked: Worked,
}

impl Engine {
    /// What a price would bill for so much usage of its meters, in its order; of meters that are not named
    /// nothing is used. Nothing is changed.
    ///
    /// # Errors
    /// Why the price would be refused, or that an amount leaves 64 bits.
    pub fn work_out(
        &self,
        price: WorkedPrice<'_>,
        name: &str,
        quantity: u32,
        usage: &[Quantity],
    ) -> Result<WorkedExample, Refused> {
        let at = self.now().max(self.shared.state.log_time());
        let price = match price {
            WorkedPrice::New { price, credits } => new_price(price, credits, &self.shared)?,
            WorkedPrice::Of(product) => product.price().clone(),
        };
        let currency = price.currency;
        let known = usage.iter().copied().chain(std::iter::repeat(Quantity::ZERO));
        let usage: Vec<Quantity> = known.take(price.meters().len()).collect();
        let entitlements = price.credits.iter();
        let entitlements: Vec<_> = entitlements
            .filter_map(|attachment| self.entitlement_at(attachment.entitlement))
            .collect();
        let catalogue = self.shared.state.catalogue();
        let example = Example {
            name,
            price: &price,
            quantity,
            usage: &usage,
            meters: catalogue.meters(),
            entitlements: &entitlements,
            at,
        };
        let worked = example::work_out(example).map_err(|overflow| Refused::Invalid {
            field: "price".to_owned(),
            message: overflow.to_string(),
        })?;
        Ok(WorkedExample { currency, worked })
    }
}
