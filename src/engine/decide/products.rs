//! What a change of a product leaves behind.

use std::sync::Arc;

use crate::engine::command::Refused;
use crate::engine::command::billing::{
    NewMeterPrice, NewPrice, NewPriceKind, NewProduct, NewRate, ProductPatch,
};
use crate::engine::command::credits::NewAttachment;
use crate::engine::shared::Shared;
use crate::model::price::{MeterPrice, PriceKind};
use crate::model::{Attachment, Price, Product, ProductId, Rate};
use crate::storage::codec;

use super::{Moment, attachments};

/// Prices that one product may have had: each is kept for those who bought at it.
const PRICES_MAX: usize = 1_000;
/// Bytes of all products together, with every price they had. A checkpoint writes them at once, with
/// the meters, as one value of at most 16 MiB.
const PRODUCTS_BYTES_MAX: usize = 6 * 1024 * 1024;

pub(super) fn create(new: &NewProduct, moment: Moment<'_>) -> Result<Arc<Product>, Refused> {
    let Moment { shared, at, .. } = moment;
    let product = Product {
        id: ProductId::new(moment.new_id("pdt")),
        index: shared.state.with_books(crate::engine::books::Books::next_product),
        name: new.name.clone(),
        description: new.description.clone(),
        tax_category: new.tax_category,
        metadata: new.metadata.clone(),
        prices: vec![new_price(&new.price, &new.credits, shared)?],
        created_at: at,
        updated_at: at,
        archived: false,
    };
    check_bytes(&product, shared)?;
    Ok(Arc::new(product))
}

/// The price of a new product that hands out these credits.
///
/// # Errors
/// [`Refused`] names what does not exist, or does not go together.
pub fn new_price(
    price: &NewPrice,
    credits: &[NewAttachment],
    shared: &Shared,
) -> Result<Price, Refused> {
    let credits = attachments::resolve(credits, price.currency, shared)?;
    self::price(price, credits, shared)
}

pub(super) fn update(
    id: &ProductId,
    patch: &ProductPatch,
    moment: Moment<'_>,
) -> Result<Arc<Product>, Refused> {
    let Moment { shared, at, .. } = moment;
    let mut product = Product::clone(&*existing(id, shared)?);
    let currency = patch.price.as_ref().map_or(product.price().currency, |price| price.currency);
    let credits = match &patch.credits {
        Some(wanted) => attachments::resolve(wanted, currency, shared)?,
        None => product.price().credits.clone(),
    };
    attachments::check_kept(&credits, currency)?;
    let changed = if let Some(new) = &patch.price {
        price(new, credits, shared)?
    } else {
        attachments::check_linked(product.price(), &credits)?;
        Price { credits, ..product.price().clone() }
    };
    add_price(&mut product, changed)?;
    let product = Product {
        name: patch.name.clone().unwrap_or(product.name),
        description: patch.description.clone().unwrap_or(product.description),
        tax_category: patch.tax_category.unwrap_or(product.tax_category),
        metadata: patch.metadata.clone().unwrap_or(product.metadata),
        updated_at: at,
        ..product
    };
    check_bytes(&product, shared)?;
    Ok(Arc::new(product))
}

pub(super) fn set_archived(
    id: &ProductId,
    archived: bool,
    moment: Moment<'_>,
) -> Result<Arc<Product>, Refused> {
    let product = existing(id, moment.shared)?;
    let is_new = product.archived != archived;
    let updated_at = if is_new { moment.at } else { product.updated_at };
    Ok(Arc::new(Product { updated_at, archived, ..Product::clone(&product) }))
}

fn existing(id: &ProductId, shared: &Shared) -> Result<Arc<Product>, Refused> {
    let found = shared.state.with_books(|books| books.product_by_id(id).cloned());
    found.ok_or(Refused::NotFound("product"))
}

/// A price for new purchases, unless it is what they pay already.
fn add_price(product: &mut Product, price: Price) -> Result<(), Refused> {
    if *product.price() == price {
        return Ok(());
    }
    if std::mem::discriminant(&product.price().kind) != std::mem::discriminant(&price.kind) {
        return Err(Refused::invalid("price.type", "the type of a product's price never changes"));
    }
    if product.prices.len() >= PRICES_MAX {
        return Err(Refused::Conflict(format!("the product had {PRICES_MAX} prices already")));
    }
    product.prices.push(price);
    Ok(())
}

fn price(new: &NewPrice, credits: Vec<Attachment>, shared: &Shared) -> Result<Price, Refused> {
    let kind = match &new.kind {
        NewPriceKind::OneTime(choice) => PriceKind::OneTime(*choice),
        NewPriceKind::Recurring(recurrence) => PriceKind::Recurring(*recurrence),
        NewPriceKind::UsageBased { recurrence, meters } => {
            let meters = meters.iter().enumerate();
            let meters = meters.map(|(place, new)| meter_price(place, new, &credits, shared));
            let meters = meters.collect::<Result<_, _>>()?;
            PriceKind::UsageBased { recurrence: *recurrence, meters }
        }
    };
    Ok(Price {
        currency: new.currency,
        fixed: new.fixed,
        discount_bps: new.discount_bps,
        tax_inclusive: new.tax_inclusive,
        purchasing_power_parity: new.purchasing_power_parity,
        kind,
        credits,
    })
}

fn meter_price(
    place: usize,
    new: &NewMeterPrice,
    credits: &[Attachment],
    shared: &Shared,
) -> Result<MeterPrice, Refused> {
    let refusal = |message| Refused::invalid(format!("price.meters.{place}.meter_id"), message);
    let catalogue = shared.state.catalogue();
    let meter = catalogue.meter(&new.meter_id).ok_or_else(|| refusal("meter does not exist"))?;
    if meter.archived {
        return Err(refusal("this meter is archived: it counts nothing"));
    }
    let rate = match &new.rate {
        NewRate::Money(rate) => rate.clone(),
        NewRate::Credits { entitlement_id, units_per_credit } => {
            let link = attachments::link(entitlement_id, *units_per_credit, credits, shared);
            Rate::Credits(link.ok_or_else(|| {
                let field = format!("price.meters.{place}.credit_entitlement_id");
                Refused::invalid(field, "this credit entitlement is none of the product's own")
            })?)
        }
    };
    Ok(MeterPrice {
        meter: meter.index,
        rate,
        free_threshold: new.free_threshold,
        minimum: new.minimum,
        maximum: new.maximum,
    })
}

fn check_bytes(changed: &Product, shared: &Shared) -> Result<(), Refused> {
    let mut bytes = Vec::new();
    codec::encode(changed, &mut bytes);
    shared.state.with_books(|books| {
        let others = books.products().iter().filter(|product| product.index != changed.index);
        for product in others {
            codec::encode(product, &mut bytes);
            if bytes.len() > PRODUCTS_BYTES_MAX {
                let limit = PRODUCTS_BYTES_MAX >> 20;
                let message = format!("all products together take {limit} MiB already");
                return Err(Refused::Conflict(message));
            }
        }
        Ok(())
    })
}
