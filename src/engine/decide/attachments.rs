//! What a price hands out of credits, with every setting as it is when the price is made.

use crate::engine::command::Refused;
use crate::engine::command::credits::{CreditOverride, NewAttachment};
use crate::engine::shared::Shared;
use crate::model::{
    Attachment, CreditEntitlement, CreditLink, Credits, Currency, EntitlementId, Price,
    UnitsPerCredit,
};

use super::credit_terms;

/// The member of a product that lists its credits.
const FIELD: &str = "credit_entitlements";

/// The credits of a price in this currency.
pub(super) fn resolve(
    wanted: &[NewAttachment],
    currency: Currency,
    shared: &Shared,
) -> Result<Vec<Attachment>, Refused> {
    let resolved = wanted.iter().enumerate().map(|(place, wanted)| {
        let path = format!("{FIELD}.{place}.");
        let found = shared
            .state
            .with_books(|books| books.entitlements.by_id(&wanted.entitlement_id).cloned());
        let entitlement = found.filter(|entitlement| !entitlement.deleted).ok_or_else(|| {
            invalid(&path, "credit_entitlement_id", "this credit entitlement does not exist")
        })?;
        attachment(wanted, &entitlement, currency, &path)
    });
    resolved.collect()
}

fn attachment(
    wanted: &NewAttachment,
    entitlement: &CreditEntitlement,
    currency: Currency,
    path: &str,
) -> Result<Attachment, Refused> {
    let precision = entitlement.precision;
    let fits = |name: &str, amount: Option<Credits>| check_precision(amount, precision, path, name);
    fits("credits_amount", Some(wanted.amount))?;
    fits("trial_credits", wanted.trial_amount)?;
    fits("overage_limit", wanted.terms.overage_limit.flatten())?;
    let mut inherited = entitlement.terms;
    if wanted.terms.price_per_unit.is_some() {
        // A price of the product's own is in its currency.
        inherited.overage.currency = inherited.overage.currency.or(Some(currency));
    }
    let terms = credit_terms::changed(inherited, &wanted.terms, path)?;
    let is_other = terms.overage.currency.is_some_and(|other| other != currency);
    if is_other && (terms.overage.is_enabled || wanted.terms.currency.is_some()) {
        return Err(invalid(
            path,
            "currency",
            &format!("the price of this product is in {currency}"),
        ));
    }
    Ok(Attachment {
        entitlement: entitlement.index,
        precision,
        amount: wanted.amount,
        trial_amount: wanted.trial_amount,
        trial_expires: wanted.trial_expires,
        low_balance_percent: wanted.low_balance_percent,
        proration: wanted.proration,
        terms,
    })
}

/// The credits of a price in this currency, with what is agreed on otherwise in this list of the request.
pub(super) fn overridden(
    credits: &[Attachment],
    currency: Currency,
    overrides: &[CreditOverride],
    list: &str,
    shared: &Shared,
) -> Result<Vec<Attachment>, Refused> {
    let mut credits = credits.to_vec();
    for (place, wanted) in overrides.iter().enumerate() {
        let path = format!("{list}.{place}.");
        let found = shared
            .state
            .with_books(|books| books.entitlements.by_id(&wanted.entitlement_id).cloned());
        let own = found.and_then(|entitlement| {
            credits.iter_mut().find(|attachment| attachment.entitlement == entitlement.index)
        });
        let own = own.ok_or_else(|| {
            let message = "this credit entitlement is none of the product's own";
            invalid(&path, "credit_entitlement_id", message)
        })?;
        check_precision(wanted.amount, own.precision, &path, "credits_amount")?;
        let limit = wanted.terms.overage_limit.flatten();
        check_precision(limit, own.precision, &path, "overage_limit")?;
        *own = Attachment {
            amount: wanted.amount.unwrap_or(own.amount),
            low_balance_percent: wanted.low_balance_percent.or(own.low_balance_percent),
            terms: credit_terms::changed(own.terms, &wanted.terms, &path)?,
            ..*own
        };
        let overage = &own.terms.overage;
        if overage.is_enabled && overage.currency.is_some_and(|other| other != currency) {
            let message = format!("the price of this product is in {currency}, its overage is not");
            return Err(invalid(&path, "overage_enabled", &message));
        }
    }
    Ok(credits)
}

fn check_precision(
    amount: Option<Credits>,
    precision: u8,
    path: &str,
    name: &str,
) -> Result<(), Refused> {
    if amount.is_none_or(|amount| amount.rounded_down(precision) == amount) {
        return Ok(());
    }
    Err(invalid(path, name, &format!("has more than {precision} digits behind the point")))
}

/// Whether credits that a product hands out can stay while its price comes to be in this currency.
pub(super) fn check_kept(kept: &[Attachment], currency: Currency) -> Result<(), Refused> {
    let overage = kept.iter().map(|attachment| &attachment.terms.overage);
    let mut enabled = overage.filter(|overage| overage.is_enabled);
    match enabled.find_map(|overage| overage.currency.filter(|other| *other != currency)) {
        None => Ok(()),
        Some(other) => {
            let message = format!("the overage of this product's credits is in {other}");
            Err(invalid("price.", "currency", &message))
        }
    }
}

/// How a meter draws on one of these credits; nothing when the entitlement is none of them.
pub(super) fn link(
    id: &EntitlementId,
    units_per_credit: UnitsPerCredit,
    credits: &[Attachment],
    shared: &Shared,
) -> Option<CreditLink> {
    let found = shared.state.with_books(|books| books.entitlements.by_id(id).cloned());
    let entitlement = found?.index;
    let is_own = credits.iter().any(|attachment| attachment.entitlement == entitlement);
    is_own.then_some(CreditLink { entitlement, units_per_credit })
}

/// Whether the meters of a price find the credits that they draw on among these.
pub(super) fn check_linked(price: &Price, credits: &[Attachment]) -> Result<(), Refused> {
    let is_own = |link: &CreditLink| {
        credits.iter().any(|attachment| attachment.entitlement == link.entitlement)
    };
    let mut links = price.meters().iter().filter_map(|meter| meter.rate.credits());
    if links.all(is_own) {
        return Ok(());
    }
    Err(invalid("", FIELD, "a meter of this product draws on credits that are missing here"))
}

fn invalid(path: &str, name: &str, message: &str) -> Refused {
    Refused::Invalid { field: format!("{path}{name}"), message: message.to_owned() }
}
