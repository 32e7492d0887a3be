//! What a cart holds: products that are sold, at their present prices.

use std::sync::Arc;

use crate::billing::{Bill, Overflow, Prices, first_bill, fixed_amount};
use crate::engine::command::Refused;
use crate::engine::command::billing::{NewCheckout, NewPurchase};
use crate::engine::shared::Shared;
use crate::model::checkout::{Cart, Purchase, Recurring};
use crate::model::price::Recurrence;
use crate::model::{Currency, Money, Payment, Price, Product, Terms};

use super::attachments;

/// The cart of a checkout session, and its currency.
pub(super) fn of_checkout(new: &NewCheckout, shared: &Shared) -> Result<(Cart, Currency), Refused> {
    let mut cart = Cart { recurring: None, once: Vec::new() };
    let mut currency = None;
    for (place, wanted) in new.cart.iter().enumerate() {
        let field = format!("product_cart.{place}.product_id");
        let product = sold(&field, wanted, shared)?;
        let price = product.price();
        let first = *currency.get_or_insert(price.currency);
        same_currency(&field, &product, first)?;
        let amount = amount(&format!("product_cart.{place}.amount"), price, wanted, new.confirm)?;
        let credits = format!("product_cart.{place}.credit_entitlements");
        let purchase = purchase(&product, wanted, amount, &credits, shared)?;
        match (price.recurrence(), &cart.recurring) {
            (None, _) => cart.once.push(purchase),
            (Some(recurrence), None) => {
                let trial_days = new.trial_days.unwrap_or(recurrence.trial_days);
                cart.recurring = Some(Recurring { purchase, trial_days });
            }
            (Some(_), Some(_)) => {
                return Err(Refused::invalid(field, "a cart holds one subscription at most"));
            }
        }
    }
    if new.trial_days.is_some() && cart.recurring.is_none() {
        let message = "nothing in this cart is paid each cycle";
        return Err(Refused::invalid("subscription_data.trial_period_days", message));
    }
    let currency = currency.ok_or_else(|| Refused::invalid("product_cart", "the cart is empty"))?;
    if new.billing_currency.is_some_and(|wanted| wanted != currency) {
        let message = format!("the prices of this cart are in {currency}");
        return Err(Refused::invalid("billing_currency", message));
    }
    Ok((cart, currency))
}

/// What is bought once beside a subscription that is paid in `currency`.
pub(super) fn beside(
    wanted: &[NewPurchase],
    currency: Currency,
    shared: &Shared,
) -> Result<Vec<Purchase>, Refused> {
    let purchases = wanted.iter().enumerate().map(|(place, wanted)| {
        let field = format!("one_time_product_cart.{place}.product_id");
        let product = sold(&field, wanted, shared)?;
        if product.price().recurrence().is_some() {
            return Err(Refused::invalid(field, "this product is paid each cycle, not once"));
        }
        same_currency(&field, &product, currency)?;
        let field = format!("one_time_product_cart.{place}.amount");
        let amount = amount(&field, product.price(), wanted, true)?;
        let credits = format!("one_time_product_cart.{place}.credit_entitlements");
        purchase(&product, wanted, amount, &credits, shared)
    });
    purchases.collect()
}

fn sold(field: &str, wanted: &NewPurchase, shared: &Shared) -> Result<Arc<Product>, Refused> {
    let found = shared.state.with_books(|books| books.product_by_id(&wanted.product_id).cloned());
    let product = found.ok_or(Refused::NotFound("product"))?;
    if product.archived {
        return Err(Refused::invalid(field, "this product is archived"));
    }
    Ok(product)
}

fn same_currency(field: &str, product: &Product, currency: Currency) -> Result<(), Refused> {
    let own = product.price().currency;
    if own == currency {
        return Ok(());
    }
    Err(Refused::invalid(
        field,
        format!("the price of this product is in {own}, others' in {currency}"),
    ))
}

fn purchase(
    product: &Product,
    wanted: &NewPurchase,
    amount: Option<Money>,
    list: &str,
    shared: &Shared,
) -> Result<Purchase, Refused> {
    let terms = Terms { product: product.index, version: product.version() };
    let Price { credits, currency, .. } = product.price();
    let credits = attachments::overridden(credits, *currency, &wanted.credits, list, shared)?;
    Ok(Purchase { terms, quantity: wanted.quantity, amount, credits })
}

/// Lets a payment say what it hands out of credits: that of what is bought once, which stands last in
/// its cart.
pub(super) fn hand_out(payment: &mut Payment, once: &[Purchase]) {
    for (item, purchase) in payment.cart.iter_mut().rev().zip(once.iter().rev()) {
        item.credits.clone_from(&purchase.credits);
    }
}

/// What one is to cost when the customer says so, which has to be known when it `is_due`.
fn amount(
    field: &str,
    price: &Price,
    wanted: &NewPurchase,
    is_due: bool,
) -> Result<Option<Money>, Refused> {
    match (price.pay_what_you_want(), wanted.amount) {
        (None, Some(_)) => {
            Err(Refused::invalid(field, "this product has a price that nobody chooses"))
        }
        (Some(_), None) if is_due => Err(Refused::missing(field)),
        (None | Some(_), None) => Ok(None),
        (Some(_), Some(amount)) => check_amount(field, price, amount).map(Some),
    }
}

fn check_amount(field: &str, price: &Price, amount: Money) -> Result<Money, Refused> {
    if amount < price.fixed {
        let least = price.fixed;
        return Err(Refused::invalid(field, format!("one costs at least {least}")));
    }
    Ok(amount)
}

/// What is bought once, with the amounts that the person says who confirms.
pub(super) fn chosen(
    once: &[Purchase],
    amounts: &[Money],
    shared: &Shared,
) -> Result<Vec<Purchase>, Refused> {
    let mut amounts = amounts.iter();
    let chosen = once.iter().map(|purchase| {
        let price = shared.state.with_books(|books| books.price(purchase.terms).cloned());
        let price = price.ok_or(Refused::NotFound("product"))?;
        if price.pay_what_you_want().is_none() || purchase.amount.is_some() {
            return Ok(purchase.clone());
        }
        let amount = amounts.next().ok_or_else(|| Refused::missing("amount"))?;
        let amount = check_amount("amount", &price, *amount)?;
        Ok(Purchase { amount: Some(amount), ..purchase.clone() })
    });
    chosen.collect()
}

/// Refuses a cart with a product that is sold no more.
pub(super) fn refuse_archived(cart: &Cart, shared: &Shared) -> Result<(), Refused> {
    let recurring = cart.recurring.iter().map(|recurring| &recurring.purchase);
    let archived = shared.state.with_books(|books| {
        let mut products = recurring
            .chain(&cart.once)
            .filter_map(|purchase| books.product(purchase.terms.product));
        products.find(|product| product.archived).cloned()
    });
    match archived {
        None => Ok(()),
        Some(product) => Err(Refused::Conflict(format!("{} is not sold any more", product.name))),
    }
}

/// The bill of what is bought once.
pub(super) fn bill(once: &[Purchase], shared: &Shared) -> Result<Bill, Refused> {
    let catalogue = shared.state.catalogue();
    let bill = shared.state.with_books(|books| {
        let prices = Prices { products: books.products(), meters: catalogue.meters() };
        first_bill(None, once, prices)
    });
    bill.map_err(|overflow| Refused::invalid("product_cart", overflow.to_string()))
}

/// Whether the first payment of a subscription, with what is bought beside it, can be written.
pub(super) fn check_first(
    recurring: &Recurring,
    once: &[Purchase],
    shared: &Shared,
) -> Result<(), Refused> {
    let Purchase { terms, quantity, .. } = recurring.purchase;
    let beside = bill(once, shared)?.total;
    let fixed = shared
        .state
        .with_books(|books| books.price(terms).and_then(|price| fixed_amount(price, quantity)));
    let total = fixed.and_then(|fixed| Money::checked_sum([fixed, beside]));
    total.map(drop).ok_or_else(|| Refused::invalid("product_cart", Overflow.to_string()))
}

/// The cycle of what is paid each cycle.
pub(super) fn recurrence(recurring: &Recurring, shared: &Shared) -> Result<Recurrence, Refused> {
    let recurrence = shared.state.with_books(|books| {
        books.price(recurring.purchase.terms).and_then(|price| price.recurrence().copied())
    });
    recurrence.ok_or(Refused::NotFound("product"))
}
