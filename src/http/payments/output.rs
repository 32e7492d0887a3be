//! Payments as they are printed.

use serde::Serialize;
use utoipa::ToSchema;

use super::StatusWord;
use crate::engine::bills::{InvoiceView, PaymentView};
use crate::http::address::{AddressBody, CustomerDetails};
use crate::http::cart::CartProduct;
use crate::http::edge::Edge;
use crate::http::invoice_line::description;
use crate::http::scalar::{JsonScalar, Pairs};
use crate::http::text::Instant;
use crate::model::customer::MetadataValue;
use crate::model::invoice::{ChargeType, LineDetail};
use crate::model::{PaymentStatus, Share};

/// What a payment charges for.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ChargeType)]
#[serde(rename_all = "snake_case")]
enum ChargeWord {
    New,
    Renewal,
    PlanChange,
    OnDemand,
}

/// What the fixed price of a payment pays for.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionServicePeriod)]
struct ServicePeriodBody {
    #[schema(value_type = String, format = DateTime)]
    starts_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    ends_at: Instant,
    /// A decimal number from 0 to 1.
    proration_factor: String,
    subscription_id: String,
}

/// What both the payment and its entry in a list say.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentDetails)]
struct Details {
    payment_id: String,
    brand_id: String,
    customer: CustomerDetails,
    /// `null` when nothing was subscribed to.
    subscription_id: Option<String>,
    subscription_ids: Vec<String>,
    invoice_id: String,
    currency: String,
    total_amount: i64,
    status: StatusWord,
    /// `null` when nothing was subscribed to.
    charge_type: Option<ChargeWord>,
    includes_usage: bool,
    retry_attempt: u32,
    service_periods: Vec<ServicePeriodBody>,
    #[schema(value_type = BTreeMap<String, JsonScalar<'static>>)]
    metadata: Pairs<String, MetadataValue>,
    payment_provider: &'static str,
    is_multi_subscription: bool,
    digital_products_delivered: bool,
    /// The session that it was ordered with.
    checkout_session_id: Option<String>,
    /// The following are always `null`.
    invoice_url: Option<String>,
    card_exp_month: Option<String>,
    card_exp_year: Option<String>,
    card_last_four: Option<String>,
    card_network: Option<String>,
    card_type: Option<String>,
    payment_method: Option<String>,
    payment_method_type: Option<String>,
    refund_status: Option<String>,
    three_ds_flow: Option<String>,
    three_ds_status: Option<String>,
    three_ds_version: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
}

/// A payment in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentListItem)]
pub(super) struct ListedBody {
    #[serde(flatten)]
    details: Details,
    has_license_key: bool,
    /// Always `null`.
    dispute_status: Option<String>,
}

/// A payment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
pub(super) struct PaymentBody {
    #[serde(flatten)]
    details: Details,
    business_id: String,
    billing: AddressBody,
    product_cart: Vec<CartProduct>,
    settlement_amount: i64,
    settlement_currency: String,
    settlement_tax: i64,
    tax: i64,
    error_code: Option<String>,
    error_message: Option<String>,
    is_update_payment_method: bool,
    /// Always empty.
    disputes: Vec<String>,
    /// Always empty.
    refunds: Vec<String>,
    /// The following are always `null`.
    card_holder_name: Option<String>,
    card_issuing_country: Option<String>,
    custom_field_responses: Option<Vec<String>>,
    discount_id: Option<String>,
    discounts: Option<Vec<String>>,
    payment_link: Option<String>,
    payment_method_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

/// What a payment pays, line by line.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentLineItems)]
pub(super) struct LineItemsBody {
    currency: String,
    items: Vec<LineItemBody>,
    partial_refund_allowed: bool,
}

/// One line: a product's fixed price, or the usage of a meter.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentLineItem)]
struct LineItemBody {
    /// The product's id, or the meter's.
    items_id: String,
    amount: i64,
    tax: i64,
    refundable_amount: i64,
    name: String,
    description: String,
}

impl Details {
    fn new(view: &PaymentView, edge: &Edge) -> Self {
        let payment = &view.payment;
        let subscription_id = view.subscription_id.as_ref().map(|id| id.as_str().to_owned());
        Self {
            payment_id: payment.id.as_str().to_owned(),
            brand_id: edge.options.brand_id.as_str().to_owned(),
            customer: CustomerDetails::from(&*view.customer),
            subscription_ids: subscription_id.iter().cloned().collect(),
            subscription_id,
            invoice_id: payment.invoice_id.as_str().to_owned(),
            currency: payment.currency.to_string(),
            total_amount: payment.total.as_minor(),
            status: payment.status.into(),
            charge_type: payment.charge_type.map(ChargeWord::from),
            includes_usage: payment.includes_usage,
            retry_attempt: payment.retry_attempt,
            service_periods: service_periods(view),
            metadata: Pairs(payment.metadata.clone()),
            // The wire format knows three; this is the one that is not a card processor.
            payment_provider: "dodo",
            is_multi_subscription: false,
            digital_products_delivered: false,
            checkout_session_id: payment.checkout.as_ref().map(|id| id.as_str().to_owned()),
            invoice_url: None,
            card_exp_month: None,
            card_exp_year: None,
            card_last_four: None,
            card_network: None,
            card_type: None,
            payment_method: None,
            payment_method_type: None,
            refund_status: None,
            three_ds_flow: None,
            three_ds_status: None,
            three_ds_version: None,
            created_at: Instant(payment.created_at),
        }
    }
}

/// Only what was paid for has a service period.
fn service_periods(view: &PaymentView) -> Vec<ServicePeriodBody> {
    let paid = view.payment.status == PaymentStatus::Succeeded;
    let period = view.payment.service_period.filter(|_| paid);
    let paid_for = period.zip(view.subscription_id.as_ref());
    let share = view.payment.share;
    let body = paid_for.map(|(period, subscription_id)| ServicePeriodBody {
        starts_at: Instant(period.start),
        ends_at: Instant(period.end),
        proration_factor: share.map_or_else(|| "1".to_owned(), Share::to_decimal),
        subscription_id: subscription_id.as_str().to_owned(),
    });
    body.into_iter().collect()
}

fn products(view: &PaymentView) -> Vec<CartProduct> {
    let products = view.product_ids.iter().zip(&view.payment.cart);
    let products = products.map(|(id, item)| CartProduct {
        product_id: id.as_str().to_owned(),
        quantity: item.quantity,
    });
    products.collect()
}

impl From<ChargeType> for ChargeWord {
    fn from(charge_type: ChargeType) -> Self {
        match charge_type {
            ChargeType::New => Self::New,
            ChargeType::Renewal => Self::Renewal,
            ChargeType::PlanChange => Self::PlanChange,
            ChargeType::OnDemand => Self::OnDemand,
        }
    }
}

impl ListedBody {
    pub(super) fn new(view: &PaymentView, edge: &Edge) -> Self {
        Self { details: Details::new(view, edge), has_license_key: false, dispute_status: None }
    }
}

impl PaymentBody {
    pub(super) fn new(view: &PaymentView, edge: &Edge) -> Self {
        let payment = &view.payment;
        Self {
            details: Details::new(view, edge),
            business_id: edge.options.business_id.as_str().to_owned(),
            billing: AddressBody::from(&*payment.billing),
            product_cart: products(view),
            settlement_amount: payment.total.as_minor(),
            settlement_currency: payment.currency.to_string(),
            settlement_tax: 0,
            tax: 0,
            error_code: payment.failure.code.clone(),
            error_message: payment.failure.message.clone(),
            is_update_payment_method: false,
            disputes: Vec::new(),
            refunds: Vec::new(),
            card_holder_name: None,
            card_issuing_country: None,
            custom_field_responses: None,
            discount_id: None,
            discounts: None,
            payment_link: None,
            payment_method_id: None,
            updated_at: Instant(payment.updated_at),
        }
    }
}

impl LineItemsBody {
    pub(super) fn new(view: &InvoiceView) -> Self {
        let ids = view.meter_ids.iter().zip(&view.product_ids);
        let items = view.invoice.lines.iter().zip(ids).map(|(line, (meter, product))| {
            let (name, items_id) = match &line.detail {
                LineDetail::Fixed(fixed) | LineDetail::Unused(fixed) => {
                    (fixed.name.clone(), product.as_str())
                }
                LineDetail::Usage(usage) => {
                    (usage.name.clone(), meter.as_ref().map_or("", |meter| meter.as_str()))
                }
                LineDetail::Charge(charge) => (charge.name.clone(), product.as_str()),
                LineDetail::Overage(overage) => (overage.name.clone(), product.as_str()),
                LineDetail::Credit => (description(line), product.as_str()),
            };
            LineItemBody {
                items_id: items_id.to_owned(),
                amount: line.amount.as_minor(),
                tax: 0,
                refundable_amount: 0,
                name,
                description: description(line),
            }
        });
        Self {
            currency: view.invoice.currency.to_string(),
            items: items.collect(),
            partial_refund_allowed: false,
        }
    }
}
