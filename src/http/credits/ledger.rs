//! Ledgers of credits on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::bills::{LedgerFilter, LedgerView};
use crate::http::auth::Read;
use crate::http::edge::Edge;
use crate::http::page::{self, Items, Paging};
use crate::http::query::Parameters;
use crate::http::reply::{self, Failure};
use crate::http::route::{Routes, Segments};
use crate::http::scalar::{JsonScalar, Pairs};
use crate::http::text::Instant;
use crate::model::credit::{LedgerReference, TransactionType};
use crate::model::customer::{Metadata, MetadataValue};
use crate::model::{CustomerId, EntitlementId, LedgerEntry};

/// What happened. Nothing in this daemon is an `auto_top_up` or a `refund`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = CreditTransactionType)]
#[serde(rename_all = "snake_case")]
enum TransactionWord {
    CreditAdded,
    CreditDeducted,
    CreditExpired,
    CreditRolledOver,
    RolloverForfeited,
    OverageCharged,
    OverageReset,
    AutoTopUp,
    ManualAdjustment,
    Refund,
}

/// What a row was caused by.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = CreditReferenceType)]
#[serde(rename_all = "snake_case")]
enum ReferenceWord {
    /// A subscription: its usage, its start, a turn of it, or its end.
    Subscription,
    /// The payment for something that is bought once.
    Payment,
    /// A manual entry.
    Api,
    /// New credits that have paid back overage of a subscription.
    OverageRepay,
}

/// A row of a ledger. The rows of a customer and a credit entitlement chain: each begins where the one
/// before it has ended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreditLedgerEntry)]
struct LedgerBody<'a> {
    id: String,
    business_id: &'a str,
    brand_id: &'a str,
    credit_entitlement_id: &'a str,
    customer_id: &'a str,
    transaction_type: TransactionWord,
    /// What was moved, not negative.
    amount: String,
    /// Whether it was to the customer's good.
    is_credit: bool,
    balance_before: String,
    balance_after: String,
    overage_before: String,
    overage_after: String,
    /// The grant that was moved; `null` for overage.
    grant_id: Option<String>,
    reference_type: Option<ReferenceWord>,
    /// The subscription or the payment.
    reference_id: Option<String>,
    /// The `reason` of a manual entry.
    description: Option<&'a str>,
    /// Of a manual entry its own; else `uncovered` when nothing has covered so much of the usage.
    #[schema(value_type = BTreeMap<String, JsonScalar<'static>>)]
    metadata: Pairs<String, MetadataValue>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
}

/// Adds the routes.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.add::<Read>(routes!(list_ledger))
}

/// List what has happened to a customer's credits
///
/// Newest first. Usage stands here a minute after it has come at the latest.
#[utoipa::path(get, path = "/credit-entitlements/{id}/balances/{customer_id}/ledger",
    tag = "credits",
    params(("id" = String, Path), ("customer_id" = String, Path),
        ("transaction_type" = Option<TransactionWord>, Query),
        ("start_date" = Option<String>, Query, format = DateTime),
        ("end_date" = Option<String>, Query, format = DateTime),
        ("page_size" = Option<u32>, Query), ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<LedgerBody<'static>>)))]
async fn list_ledger(
    State(edge): State<Arc<Edge>>,
    Segments(id, customer): Segments,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, Failure> {
    let word = parameters.parsed(
        "transaction_type",
        "a transaction type such as credit_added",
        |text| serde_json::from_value(serde_json::Value::from(text)).ok(),
    )?;
    let filter = LedgerFilter {
        transaction: word.and_then(TransactionWord::transaction),
        from: parameters.timestamp("start_date")?,
        to: parameters.timestamp("end_date")?,
        below: None,
    };
    // Of a kind that no row has there is nothing, but the ledger must be there.
    let limit = if word.is_some() && filter.transaction.is_none() { 0 } else { paging.limit };
    let paging = Paging { limit, ..paging };
    let (id, customer) = (EntitlementId::new(id), CustomerId::new(customer));
    let owner = (id.clone(), customer.clone());
    let found =
        edge.read(move |engine| engine.ledger(&id, &customer, filter, paging.into())).await??;
    let items = found.iter().map(|view| LedgerBody::new(view, &edge, &owner)).collect();
    Ok(reply::json(StatusCode::OK, &Items { items }))
}

impl TransactionWord {
    /// What it stands for; nothing for what never happens here.
    fn transaction(self) -> Option<TransactionType> {
        match self {
            Self::CreditAdded => Some(TransactionType::CreditAdded),
            Self::CreditDeducted => Some(TransactionType::CreditDeducted),
            Self::CreditExpired => Some(TransactionType::CreditExpired),
            Self::CreditRolledOver => Some(TransactionType::CreditRolledOver),
            Self::RolloverForfeited => Some(TransactionType::RolloverForfeited),
            Self::OverageCharged => Some(TransactionType::OverageCharged),
            Self::OverageReset => Some(TransactionType::OverageReset),
            Self::ManualAdjustment => Some(TransactionType::ManualAdjustment),
            Self::AutoTopUp | Self::Refund => None,
        }
    }
}

impl From<TransactionType> for TransactionWord {
    fn from(transaction: TransactionType) -> Self {
        match transaction {
            TransactionType::CreditAdded => Self::CreditAdded,
            TransactionType::CreditDeducted => Self::CreditDeducted,
            TransactionType::CreditExpired => Self::CreditExpired,
            TransactionType::CreditRolledOver => Self::CreditRolledOver,
            TransactionType::RolloverForfeited => Self::RolloverForfeited,
            TransactionType::OverageCharged => Self::OverageCharged,
            TransactionType::OverageReset => Self::OverageReset,
            TransactionType::ManualAdjustment => Self::ManualAdjustment,
        }
    }
}

impl<'a> LedgerBody<'a> {
    fn new(
        view: &'a LedgerView,
        edge: &'a Edge,
        (entitlement, customer): &'a (EntitlementId, CustomerId),
    ) -> Self {
        let entry = &view.entry;
        let subscription = view.subscription_id.as_ref().map(|id| id.as_str().to_owned());
        let (reference_type, reference_id) = match &entry.reference {
            LedgerReference::Subscription(_) => (ReferenceWord::Subscription, subscription),
            LedgerReference::Payment(payment) => {
                (ReferenceWord::Payment, Some(payment.as_str().to_owned()))
            }
            LedgerReference::Api => (ReferenceWord::Api, None),
            LedgerReference::OverageRepay(_) => (ReferenceWord::OverageRepay, subscription),
        };
        Self {
            id: entry.id.to_string(),
            business_id: edge.options.business_id.as_str(),
            brand_id: edge.options.brand_id.as_str(),
            credit_entitlement_id: entitlement.as_str(),
            customer_id: customer.as_str(),
            transaction_type: entry.transaction.into(),
            amount: entry.amount.to_string(),
            is_credit: entry.is_credit,
            balance_before: entry.balance_before.to_string(),
            balance_after: entry.balance_after.to_string(),
            overage_before: entry.overage_before.to_string(),
            overage_after: entry.overage_after.to_string(),
            grant_id: entry.grant.map(|id| id.to_string()),
            reference_type: Some(reference_type),
            reference_id,
            description: entry.reason.as_deref(),
            metadata: Pairs(metadata(entry)),
            created_at: Instant(entry.created_at),
        }
    }
}

/// A row as it is printed.
pub(crate) fn shown_row<'a>(
    view: &'a LedgerView,
    edge: &'a Edge,
    owner: &'a (EntitlementId, CustomerId),
) -> impl Serialize + 'a {
    LedgerBody::new(view, edge, owner)
}

/// The details of a row, with what nothing has covered.
fn metadata(entry: &LedgerEntry) -> Metadata {
    let mut metadata = entry.metadata.clone();
    if !entry.uncovered.is_zero() {
        let uncovered = MetadataValue::String(entry.uncovered.to_string());
        metadata.push(("uncovered".to_owned(), uncovered));
    }
    metadata
}
