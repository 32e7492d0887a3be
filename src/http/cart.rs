//! Carts on the wire.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::engine::command::billing::NewPurchase;
use crate::http::credits::{self, CartCreditsInput};
use crate::http::reply::ApiError;
use crate::http::{body, text};
use crate::model::{Money, ProductId};

/// Products of a cart.
pub(crate) const ITEMS_MAX: usize = 20;
/// Of one product.
const QUANTITY_MAX: i64 = 1_000_000_000;

/// So many of a product.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = CartItem)]
pub(crate) struct CartItemInput<'a> {
    #[schema(value_type = String)]
    product_id: Option<String>,
    #[schema(value_type = i64)]
    quantity: Option<i64>,
    /// What one costs of a product with `pay_what_you_want`, in the currency's minor unit; not less than its
    /// price. A person is asked for it when it is not given and the order is not confirmed at once.
    amount: Option<i64>,
    #[serde(borrow)]
    #[schema(ignore)]
    addons: Option<&'a RawValue>,
    /// Other amounts of the credits that it hands out.
    credit_entitlements: Option<Vec<CartCreditsInput>>,
}

/// So many of a product.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CartProduct)]
pub(crate) struct CartProduct {
    pub(crate) product_id: String,
    pub(crate) quantity: u32,
}

/// The products of a cart, each once.
///
/// # Errors
/// 422 that names the field, as a path from `field`
pub(crate) fn purchases(
    field: &str,
    items: Vec<CartItemInput<'_>>,
) -> Result<Vec<NewPurchase>, ApiError> {
    if items.len() > ITEMS_MAX {
        let message = format!("{field}: a cart has at most {ITEMS_MAX} products");
        return Err(ApiError::invalid(field, message));
    }
    let mut purchases: Vec<NewPurchase> = Vec::with_capacity(items.len());
    for (place, item) in items.into_iter().enumerate() {
        let of = |name: &str| format!("{field}.{place}.{name}");
        let product_id = ProductId::new(text::id(&of("product_id"), item.product_id)?);
        if purchases.iter().any(|earlier| earlier.product_id == product_id) {
            let field = of("product_id");
            let message = format!("{field}: this product stands twice; give a quantity");
            return Err(ApiError::invalid(&field, message));
        }
        body::refuse_not_offered(&[(&of("addons"), item.addons)])?;
        let quantity = quantity(&of("quantity"), item.quantity)?;
        if item.amount.is_some_and(|amount| amount < 0) {
            let field = of("amount");
            return Err(ApiError::invalid(&field, format!("{field}: must not be negative")));
        }
        let amount = item.amount.map(Money::from_minor);
        let credits = item.credit_entitlements.unwrap_or_default();
        let credits = credits::amounts(&of("credit_entitlements"), credits)?;
        purchases.push(NewPurchase { product_id, quantity, credits, amount });
    }
    Ok(purchases)
}

/// How many of a product are bought.
///
/// # Errors
/// 422 that names `field`
pub(crate) fn quantity(field: &str, quantity: Option<i64>) -> Result<u32, ApiError> {
    let quantity = quantity.ok_or_else(|| ApiError::missing(field))?;
    if !(1..=QUANTITY_MAX).contains(&quantity) {
        let message = format!("{field}: must be from 1 to {QUANTITY_MAX}");
        return Err(ApiError::invalid(field, message));
    }
    // Fits: it is at most a thousand million.
    Ok(u32::try_from(quantity).unwrap_or(1))
}
