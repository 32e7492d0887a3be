//! Manual entries into ledgers of credits, on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::command::entries::{NewEntry, NewEntryKind};
use crate::engine::{Command, Outcome};
use crate::http::auth::Admin;
use crate::http::body;
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segments};
use crate::http::scalar::{JsonScalar, Members, Pairs};
use crate::http::text::{self, Instant};
use crate::model::customer::MetadataValue;
use crate::model::{Credits, CustomerId, EntitlementId, LedgerEntry, Timestamp};

use super::{bounded, decimal};

/// Characters of what a second request for the same entry is recognised by.
const KEY_CHARS_MAX: usize = 255;

/// Whether credits are given or taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LedgerEntryType)]
#[serde(rename_all = "snake_case")]
enum EntryWord {
    Credit,
    Debit,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = CreditLedgerEntryCreate)]
struct EntryCreate<'a> {
    #[schema(value_type = EntryWord)]
    entry_type: Option<EntryWord>,
    /// A decimal number: more than zero, below 10^10, with at most as many digits behind the point as
    /// the entitlement's precision.
    #[schema(value_type = String)]
    amount: Option<String>,
    /// Of a credit: it can be spent before this instant, which lies in the future.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// 1 to 255 characters: another entry of this customer and entitlement with the same is refused.
    idempotency_key: Option<String>,
    /// Up to 1,000 characters.
    reason: Option<String>,
    #[serde(borrow)]
    #[schema(value_type = Option<BTreeMap<String, JsonScalar<'static>>>)]
    metadata: Option<Members<'a>>,
}

/// The row that a manual entry has made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreditLedgerEntryCreated)]
struct EntryBody<'a> {
    id: String,
    credit_entitlement_id: &'a str,
    customer_id: &'a str,
    entry_type: EntryWord,
    is_credit: bool,
    amount: String,
    balance_before: String,
    balance_after: String,
    overage_before: String,
    overage_after: String,
    /// The new grant; of a debit the one that it was taken from, `null` when there were several.
    grant_id: Option<String>,
    reason: Option<&'a str>,
    #[schema(value_type = BTreeMap<String, JsonScalar<'static>>)]
    metadata: Pairs<String, MetadataValue>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
}

/// Adds the routes.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.add::<Admin>(routes!(create_ledger_entry))
}

/// Give a customer credits, or take some
///
/// A credit is a grant of its own. A debit takes from the grants as usage does, and never more than there
/// is: 400 then.
#[utoipa::path(post, path = "/credit-entitlements/{id}/balances/{customer_id}/ledger-entries",
    tag = "credits", params(("id" = String, Path), ("customer_id" = String, Path)),
    request_body = EntryCreate<'static>,
    responses((status = 201, body = EntryBody<'static>)))]
async fn create_ledger_entry(
    State(edge): State<Arc<Edge>>,
    Segments(id, customer): Segments,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let owner = (EntitlementId::new(id), CustomerId::new(customer));
    let new = body::object::<EntryCreate<'_>>(&mutation.body)?.into_new(owner.clone())?;
    let command = Command::EnterCredits(Box::new(new));
    let changed = edge.change(command, mutation.identity).await?;
    let Outcome::LedgerEntry(pool) = changed.outcome else {
        return Err(ApiError::internal().into());
    };
    let view = edge.read(move |engine| engine.manual_entry(pool, changed.lsn)).await??;
    Ok(reply::json(StatusCode::CREATED, &EntryBody::new(&view.entry, &owner)))
}

impl EntryCreate<'_> {
    fn into_new(self, owner: (EntitlementId, CustomerId)) -> Result<NewEntry, ApiError> {
        let missing = |field| ApiError::invalid(field, format!("{field} is missing"));
        let kind = self.entry_type.ok_or_else(|| missing("entry_type"))?;
        let amount = self.amount.as_deref().ok_or_else(|| missing("amount"))?;
        let expires_at = self.expires_at.as_deref().map(expiry).transpose()?;
        let key = |text| text::required("idempotency_key", Some(text), KEY_CHARS_MAX);
        let reason = |text| text::paragraph("reason", text);
        let (entitlement_id, customer_id) = owner;
        Ok(NewEntry {
            entitlement_id,
            customer_id,
            kind: match (kind, expires_at) {
                (EntryWord::Credit, expires_at) => NewEntryKind::Credit { expires_at },
                (EntryWord::Debit, None) => NewEntryKind::Debit,
                (EntryWord::Debit, Some(_)) => {
                    let message = "expires_at: a debit has none";
                    return Err(ApiError::invalid("expires_at", message));
                }
            },
            amount: entered_amount(amount)?,
            idempotency_key: self.idempotency_key.map(key).transpose()?,
            reason: self.reason.map(reason).transpose()?,
            metadata: self.metadata.map(Members::into_metadata).transpose()?.unwrap_or_default(),
        })
    }
}

/// The amount of an entry.
///
/// # Errors
/// 422 for what is no amount, 400 for one that is nothing or too much.
fn entered_amount(text: &str) -> Result<Credits, ApiError> {
    let number = decimal("amount", text)?;
    let out_of_bounds = |message: String| {
        let code = "INVALID_REQUEST_PARAMETERS";
        ApiError::new(StatusCode::BAD_REQUEST, code, message).in_field("amount")
    };
    match bounded("amount", &number) {
        Ok(amount) if amount.is_zero() => {
            Err(out_of_bounds("amount: must be more than zero".to_owned()))
        }
        Ok(amount) => Ok(amount),
        Err(error) => Err(out_of_bounds(error.body().message.clone())),
    }
}

fn expiry(text: &str) -> Result<Timestamp, ApiError> {
    Timestamp::parse(text).map_err(|_| {
        let message = "expires_at must be an RFC 3339 date-time such as 2026-01-31T00:00:00Z";
        ApiError::invalid("expires_at", message)
    })
}

impl<'a> EntryBody<'a> {
    fn new(
        entry: &'a LedgerEntry,
        (entitlement, customer): &'a (EntitlementId, CustomerId),
    ) -> Self {
        Self {
            id: entry.id.to_string(),
            credit_entitlement_id: entitlement.as_str(),
            customer_id: customer.as_str(),
            entry_type: if entry.is_credit { EntryWord::Credit } else { EntryWord::Debit },
            is_credit: entry.is_credit,
            amount: entry.amount.to_string(),
            balance_before: entry.balance_before.to_string(),
            balance_after: entry.balance_after.to_string(),
            overage_before: entry.overage_before.to_string(),
            overage_after: entry.overage_after.to_string(),
            grant_id: entry.grant.map(|id| id.to_string()),
            reason: entry.reason.as_deref(),
            metadata: Pairs(entry.metadata.clone()),
            created_at: Instant(entry.created_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<NewEntry, (u16, Option<String>)> {
        let owner = (EntitlementId::new("cde_1"), CustomerId::new("c"));
        let read = body::object::<EntryCreate<'_>>(text.as_bytes());
        read.and_then(|entry| entry.into_new(owner))
            .map_err(|error| (error.status().as_u16(), error.body().field.clone()))
    }

    fn refused(members: &str) -> (u16, String) {
        let (status, field) = read(&format!("{{{members}}}")).unwrap_err();
        (status, field.unwrap())
    }

    #[test]
    fn an_entry_is_read_whole() {
        let text = r#"{"entry_type":"credit","amount":"1.50","expires_at":"2030-01-01T00:00:00Z",
            "idempotency_key":"k","reason":"sorry","metadata":{"a":1},"credit_entitlement_id":"x"}"#;
        let expires_at = Timestamp::parse("2030-01-01T00:00:00Z").ok();
        let expected = NewEntry {
            entitlement_id: EntitlementId::new("cde_1"),
            customer_id: CustomerId::new("c"),
            kind: NewEntryKind::Credit { expires_at },
            amount: Credits::from_units(1_500_000_000_000),
            idempotency_key: Some("k".to_owned()),
            reason: Some("sorry".to_owned()),
            metadata: vec![("a".to_owned(), MetadataValue::Number("1".to_owned()))],
        };
        assert_eq!(read(text), Ok(expected));
        let nulls = r#"{"entry_type":"debit","amount":"9999999999.9999999999","expires_at":null,
            "idempotency_key":null,"reason":null,"metadata":null}"#;
        let read = read(nulls).unwrap();
        assert_eq!((read.kind, read.idempotency_key), (NewEntryKind::Debit, None));
    }

    #[test]
    fn what_is_no_entry_is_refused_by_its_field() {
        let (debit, one) = (r#""entry_type":"debit""#, r#""amount":"1""#);
        for (members, status, field) in [
            (debit.to_owned(), 422, "amount"),
            (one.to_owned(), 422, "entry_type"),
            (format!(r#"{one},"entry_type":"refund""#), 422, "entry_type"),
            (format!(r#"{debit},"amount":1"#), 422, "amount"),
            (format!(r#"{debit},"amount":"1e3""#), 422, "amount"),
            (format!(r#"{debit},"amount":"0.00000000001""#), 422, "amount"),
            (format!(r#"{debit},"amount":"0.0""#), 400, "amount"),
            (format!(r#"{debit},"amount":"-1""#), 400, "amount"),
            (format!(r#"{debit},"amount":"10000000000""#), 400, "amount"),
            (format!(r#"{debit},{one},"expires_at":"2030-01-01T00:00:00Z""#), 422, "expires_at"),
            (format!(r#"{debit},{one},"expires_at":"soon""#), 422, "expires_at"),
            (format!(r#"{debit},{one},"idempotency_key":"""#), 422, "idempotency_key"),
            (format!(r#"{debit},{one},"reason":"{}""#, "r".repeat(1_001)), 422, "reason"),
            (format!(r#"{debit},{one},"metadata":{{"a":[]}}"#), 422, "metadata.a"),
        ] {
            assert_eq!(refused(&members), (status, field.to_owned()), "{members}");
        }
    }
}
