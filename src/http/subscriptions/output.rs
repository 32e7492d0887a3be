//! Subscriptions as they are printed.

use serde::Serialize;
use utoipa::ToSchema;

use super::credits::{self, CartBody, MeterCartBody};
use super::words::{FeedbackWord, StatusWord};
use crate::billing::fixed_amount;
use crate::engine::bills::{PaymentView, SubscriptionView};
use crate::http::address::{AddressBody, CustomerDetails};
use crate::http::cart::CartProduct;
use crate::http::edge::Edge;
use crate::http::price::IntervalWord;
use crate::http::rate::{self, RateBody};
use crate::http::scalar::{JsonScalar, Pairs};
use crate::http::text::Instant;
use crate::model::customer::MetadataValue;
use crate::model::subscription::CancelReason;
use crate::model::{Money, Price, SubscriptionStatus};

/// The answer to a new subscription.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionCreated)]
pub(super) struct CreatedBody {
    subscription_id: String,
    payment_id: String,
    customer: CustomerDetails,
    #[schema(value_type = BTreeMap<String, JsonScalar<'static>>)]
    metadata: Pairs<String, MetadataValue>,
    /// What each cycle costs in advance, in the currency's minor unit.
    recurring_pre_tax_amount: i64,
    payment_method_required: bool,
    /// What was bought once with the first payment; `null` for nothing.
    one_time_product_cart: Option<Vec<CartProduct>>,
    /// Always empty.
    addons: Vec<String>,
    /// The following are always `null`.
    client_secret: Option<String>,
    discount_id: Option<String>,
    discount_ids: Option<Vec<String>>,
    expires_on: Option<String>,
    payment_link: Option<String>,
    trial_amount: Option<i64>,
    /// What is worth a look: other subscriptions that bill the same usage of this customer.
    warnings: Vec<String>,
}

/// What both the subscription and its entry in a list say.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionDetails)]
#[expect(clippy::struct_excessive_bools, reason = "the wire format has them")]
struct Details {
    subscription_id: String,
    product_id: String,
    customer: CustomerDetails,
    billing: AddressBody,
    currency: String,
    status: StatusWord,
    quantity: u32,
    recurring_pre_tax_amount: i64,
    tax_inclusive: bool,
    trial_period_days: u32,
    payment_frequency_count: u32,
    payment_frequency_interval: IntervalWord,
    subscription_period_count: u32,
    subscription_period_interval: IntervalWord,
    #[schema(value_type = String, format = DateTime)]
    previous_billing_date: Instant,
    #[schema(value_type = String, format = DateTime)]
    next_billing_date: Instant,
    cancel_at_next_billing_date: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    cancelled_at: Option<Instant>,
    cancelled_by: Option<CancelledBy>,
    #[schema(value_type = BTreeMap<String, JsonScalar<'static>>)]
    metadata: Pairs<String, MetadataValue>,
    customer_business_name: Option<String>,
    tax_id: Option<String>,
    on_demand: bool,
    has_payment_method: bool,
    scheduled_change: Option<ScheduledChangeBody>,
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_at: Option<Instant>,
    /// While it is past due: when its time to pay is over.
    #[schema(value_type = Option<String>, format = DateTime)]
    past_due_until: Option<Instant>,
    /// What a change of plan left for later invoices, in the currency's minor unit.
    customer_credits: i64,
    /// The following are always `null`.
    payment_method_id: Option<String>,
    discount_id: Option<String>,
    discount_cycles_remaining: Option<u32>,
    trial_amount: Option<i64>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
}

/// The plan from the next billing date on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScheduledPlanChange)]
struct ScheduledChangeBody {
    id: String,
    product_id: String,
    product_name: Option<String>,
    product_description: Option<String>,
    quantity: u32,
    /// Always empty.
    addons: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    effective_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
}

/// A subscription in a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionListItem)]
pub(super) struct ListedBody {
    #[serde(flatten)]
    details: Details,
    product_name: String,
    /// Always empty.
    discounts: Vec<String>,
}

/// A subscription.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Subscription)]
pub(super) struct SubscriptionBody {
    #[serde(flatten)]
    details: Details,
    brand_id: String,
    meters: Vec<MeterBody>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Instant,
    cancellation_feedback: Option<FeedbackWord>,
    cancellation_comment: Option<String>,
    /// The number of the price it was bought at.
    price_version: u32,
    /// Periods that have ended and have no invoice yet.
    closing_periods: usize,
    /// Always empty.
    addons: Vec<String>,
    credit_entitlement_cart: Vec<CartBody>,
    meter_credit_entitlement_cart: Vec<MeterCartBody>,
    /// Always `null`.
    custom_field_responses: Option<Vec<String>>,
    /// Always `null`.
    discounts: Option<Vec<String>>,
}

/// Who has ended a subscription.
#[derive(Debug, Serialize, ToSchema)]
struct CancelledBy {
    actor_type: ActorWord,
    email: Option<String>,
    name: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = CancelActor)]
#[serde(rename_all = "snake_case")]
enum ActorWord {
    Customer,
    ApiKey,
    DodoTeam,
}

/// A meter of a subscription.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionMeter)]
struct MeterBody {
    meter_id: String,
    name: String,
    description: Option<String>,
    measurement_unit: String,
    currency: String,
    free_threshold: u64,
    /// With `tiers` the price of the first; with `package_size` the price of a package; `null` when it is
    /// paid in credits.
    price_per_unit: Option<String>,
    #[serde(flatten)]
    rate: RateBody,
}

/// The price that was bought, and what a cycle of it costs in advance.
fn price(view: &SubscriptionView) -> (&Price, i64) {
    let price = view.product.price_at(view.subscription.terms.version);
    let price = price.unwrap_or_else(|| view.product.price());
    let amount = fixed_amount(price, view.subscription.quantity);
    // It fitted when the subscription was made.
    (price, amount.map_or(i64::MAX, Money::as_minor))
}

/// What a first payment pays for beside the subscription, which stands first in its cart.
fn bought_once(first: &PaymentView) -> Vec<CartProduct> {
    let once = first.product_ids.iter().zip(&first.payment.cart).skip(1);
    let once = once.map(|(id, item)| CartProduct {
        product_id: id.as_str().to_owned(),
        quantity: item.quantity,
    });
    once.collect()
}

impl CreatedBody {
    pub(super) fn new(view: &SubscriptionView, first: Option<&PaymentView>) -> Self {
        let (_, recurring_pre_tax_amount) = price(view);
        let warning = |other: &crate::model::SubscriptionId| {
            format!("usage of this customer is billed by {other} too, on the same meter")
        };
        Self {
            subscription_id: view.subscription.id.as_str().to_owned(),
            payment_id: view.first_payment.as_str().to_owned(),
            customer: CustomerDetails::from(&*view.customer),
            metadata: Pairs(view.subscription.metadata.clone()),
            recurring_pre_tax_amount,
            payment_method_required: false,
            addons: Vec::new(),
            client_secret: None,
            discount_id: None,
            discount_ids: None,
            expires_on: None,
            one_time_product_cart: first.map(bought_once),
            payment_link: None,
            trial_amount: None,
            warnings: view.shares_meters_with.iter().map(warning).collect(),
        }
    }
}

impl ScheduledChangeBody {
    fn new(view: &SubscriptionView, edge: &Edge) -> Option<Self> {
        let subscription = &view.subscription;
        let change = subscription.scheduled_change.as_ref()?;
        let product = edge.engine.product_at(change.plan.terms.product)?;
        let words = view.scheduled.as_ref()?;
        Some(Self {
            id: change.id.as_str().to_owned(),
            product_id: product.id.as_str().to_owned(),
            product_name: Some(words.name.clone()),
            product_description: words.description.clone(),
            quantity: change.plan.quantity,
            addons: Vec::new(),
            effective_at: Instant(subscription.cycle.next_billing_date),
            created_at: Instant(change.created_at),
        })
    }
}

impl Details {
    fn new(view: &SubscriptionView, edge: &Edge) -> Self {
        let subscription = &view.subscription;
        let (price, recurring_pre_tax_amount) = price(view);
        let is_cancelled = subscription.status == SubscriptionStatus::Cancelled;
        let reason = subscription.cancellation.reason;
        let cycle = &subscription.cycle;
        Self {
            subscription_id: subscription.id.as_str().to_owned(),
            product_id: view.product.id.as_str().to_owned(),
            customer: CustomerDetails::from(&*view.customer),
            billing: AddressBody::from(&*subscription.billing),
            currency: price.currency.to_string(),
            status: subscription.status.into(),
            quantity: subscription.quantity,
            recurring_pre_tax_amount,
            tax_inclusive: price.tax_inclusive,
            trial_period_days: subscription.trial_days,
            payment_frequency_count: cycle.interval.count,
            payment_frequency_interval: cycle.interval.unit.into(),
            subscription_period_count: subscription.subscription_period.count,
            subscription_period_interval: subscription.subscription_period.unit.into(),
            previous_billing_date: Instant(cycle.previous_billing_date),
            next_billing_date: Instant(cycle.next_billing_date),
            cancel_at_next_billing_date: subscription.cancel_at_next_billing_date,
            cancelled_at: subscription.cancellation.at.map(Instant),
            cancelled_by: is_cancelled.then(|| CancelledBy::new(reason)),
            metadata: Pairs(subscription.metadata.clone()),
            customer_business_name: subscription.customer_business_name.clone(),
            tax_id: subscription.tax_id.clone(),
            on_demand: !cycle.renews,
            has_payment_method: false,
            scheduled_change: ScheduledChangeBody::new(view, edge),
            paused_at: subscription.paused_at.map(Instant),
            past_due_until: subscription.past_due_until.map(Instant),
            customer_credits: subscription.credit.as_minor(),
            payment_method_id: None,
            discount_id: None,
            discount_cycles_remaining: None,
            trial_amount: None,
            created_at: Instant(subscription.created_at),
        }
    }
}

impl ListedBody {
    pub(super) fn new(view: &SubscriptionView, edge: &Edge) -> Self {
        Self {
            details: Details::new(view, edge),
            product_name: view.product.name.clone(),
            discounts: Vec::new(),
        }
    }
}

impl SubscriptionBody {
    pub(super) fn new(view: &SubscriptionView, edge: &Edge) -> Self {
        let subscription = &view.subscription;
        let cancellation = &subscription.cancellation;
        Self {
            details: Details::new(view, edge),
            brand_id: edge.options.brand_id.as_str().to_owned(),
            meters: meters(view, edge),
            expires_at: Instant(subscription.cycle.expires_at),
            cancellation_feedback: cancellation.feedback.map(FeedbackWord::from),
            cancellation_comment: cancellation.comment.clone(),
            price_version: subscription.terms.version.0,
            closing_periods: subscription.closing.len(),
            addons: Vec::new(),
            credit_entitlement_cart: credits::cart(view, &edge.engine),
            meter_credit_entitlement_cart: credits::meter_cart(view, &edge.engine),
            custom_field_responses: None,
            discounts: None,
        }
    }
}

impl CancelledBy {
    /// Whoever asked used an API key; the reason may name somebody else.
    fn new(reason: Option<CancelReason>) -> Self {
        let actor_type = match reason {
            Some(CancelReason::CancelledByCustomer) => ActorWord::Customer,
            Some(CancelReason::DodoTeam) => ActorWord::DodoTeam,
            Some(
                CancelReason::CancelledByMerchant
                | CancelReason::CancelledByMerchantSendDunning
                | CancelReason::CancelledByMerchantGracePeriodExpired,
            )
            | None => ActorWord::ApiKey,
        };
        Self { actor_type, email: None, name: None }
    }
}

fn meters(view: &SubscriptionView, edge: &Edge) -> Vec<MeterBody> {
    let (price, _) = price(view);
    let meters = price.meters().iter().filter_map(|priced| {
        let words = view.meters.iter().find(|words| words.index == priced.meter)?;
        Some(MeterBody {
            meter_id: edge.engine.meter_id(priced.meter)?.as_str().to_owned(),
            name: words.name.clone(),
            description: words.description.clone(),
            measurement_unit: words.measurement_unit.clone(),
            currency: price.currency.to_string(),
            free_threshold: priced.free_threshold,
            price_per_unit: match priced.rate.credits() {
                None => Some(rate::shown_price(&priced.rate, &[])),
                Some(_) => None,
            },
            rate: RateBody::new(priced),
        })
    });
    meters.collect()
}
