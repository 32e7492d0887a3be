//! Asking before serving: what usage would draw, and credits that are held for it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::command::EventRefusal;
use crate::engine::command::reservations::{Ask, LIFETIME_MAX, NewReservation};
use crate::engine::commit::Commit;
use crate::engine::reservations::Ending;
use crate::engine::reservations::ask::Asked;
use crate::engine::reservations::requests::{ReservationStatus, ReservationView};
use crate::engine::reservations::{CommittedEvent, Novelty};
use crate::engine::{Changed, Command, Engine, Outcome, Refused, RequestIdentity};
use crate::http::auth::Ingest;
use crate::http::body;
use crate::http::decode::decode_one;
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::ingest::EventInput;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::text::{self, Instant};
use crate::metering::validate;
use crate::model::{
    CustomerId, EntitlementId, EventId, MeterId, Number, Quantity, RawValue as EventValue,
    ReservationId, SubscriptionId,
};

use super::within;

/// How long a reservation holds when nobody says.
const LIFETIME_SECONDS: i64 = 600;

/// Usage that is about to come.
#[derive(Deserialize, ToSchema)]
#[schema(as = CreditCheck)]
struct CheckInput<'a> {
    #[schema(value_type = String)]
    customer_id: Option<String>,
    #[schema(value_type = String)]
    meter_id: Option<String>,
    /// Units of the meter: a decimal number, or the text of one; 0 or more. Of a meter of the largest or
    /// the last value that value.
    #[serde(borrow)]
    #[schema(value_type = String)]
    amount: Option<&'a RawValue>,
    /// Needed when several subscriptions of the customer pay for this meter, in different ways.
    subscription_id: Option<String>,
}

/// Usage that credits are to be held for.
#[derive(Deserialize, ToSchema)]
#[schema(as = ReservationCreate)]
struct ReserveInput<'a> {
    #[schema(value_type = String)]
    customer_id: Option<String>,
    #[schema(value_type = String)]
    meter_id: Option<String>,
    /// As of a check.
    #[serde(borrow)]
    #[schema(value_type = String)]
    amount: Option<&'a RawValue>,
    /// As of a check.
    subscription_id: Option<String>,
    /// 1 to 3600; 600 when left out.
    expires_in_seconds: Option<i64>,
}

/// The event that a reservation was made for.
#[derive(ToSchema)]
#[schema(as = ReservationCommit)]
#[expect(dead_code, reason = "describes what the decoder reads")]
struct CommitInput<'a> {
    /// As in an ingest request, but for the timestamp: it happens now.
    event: EventInput<'a>,
}

/// Whether there are credits for usage that is about to come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreditCheckAnswer)]
struct CheckBody<'a> {
    /// Whether balance and overage would cover it, beside all that is reserved.
    allowed: bool,
    /// What it would draw, behind all that is announced by reservations.
    credits: String,
    /// The customer's balance, what is held by reservations included.
    balance: String,
    /// What of the balance is held by nobody.
    available_balance: String,
    /// The overage of all of the customer's subscriptions.
    overage: String,
    /// How much overage the subscription may still make, reservations aside; `null` for no limit.
    remaining_headroom: Option<String>,
    credit_entitlement_id: &'a str,
    /// The subscription that would pay.
    subscription_id: &'a str,
}

/// Credits that are held for usage which is about to come, or were.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reservation)]
struct ReservationBody<'a> {
    reservation_id: &'a str,
    status: StatusWord,
    customer_id: &'a str,
    meter_id: &'a str,
    subscription_id: &'a str,
    credit_entitlement_id: &'a str,
    /// Units of the meter.
    amount: String,
    /// What is held for them, or was: of the balance, then as overage.
    credits: String,
    /// What of that is overage.
    overage: String,
    /// Until when it can be committed, by the machine's clock; under a test clock too.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Instant>,
    /// The event that has committed it.
    event: Option<CommittedBody<'a>>,
}

/// What became of the event that has committed a reservation.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReservationEvent)]
struct CommittedBody<'a> {
    event_id: &'a str,
    /// Whether its id was known: then it has counted nothing.
    duplicate: bool,
    /// Whether its id was known with other content.
    conflict: bool,
    /// Where the event stands in the log, or its first copy.
    lsn: u64,
}

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ReservationStatus)]
#[serde(rename_all = "snake_case")]
enum StatusWord {
    Open,
    Committed,
    Released,
    TimedOut,
}

/// Adds the routes of those who ask before they serve: whoever may send events may ask.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add::<Ingest>(routes!(check_credits))
        .add::<Ingest>(routes!(reserve_credits))
        .add::<Ingest>(routes!(get_reservation))
        .add::<Ingest>(routes!(commit_reservation))
        .add::<Ingest>(routes!(release_reservation))
}

/// Ask whether there are credits for usage
///
/// From memory; nothing is held, and nothing is written.
#[utoipa::path(post, path = "/credits/check", tag = "credits",
    request_body = CheckInput<'static>, responses((status = 200, body = CheckBody<'static>)))]
async fn check_credits(
    State(edge): State<Arc<Edge>>,
    mutation: Mutation,
) -> Result<Response, ApiError> {
    let asked = body::object::<CheckInput<'_>>(&mutation.body)?.into_ask()?;
    let asked = edge.engine.check_credits(&asked)?;
    let entitlement = edge.engine.entitlement_id(asked.pool.entitlement);
    let entitlement = entitlement.ok_or_else(ApiError::internal)?;
    Ok(reply::json(StatusCode::OK, &CheckBody::new(&asked, &entitlement)))
}

/// Hold credits for usage
///
/// Until a commit, a release, or the end of its time. 402 with the code `INSUFFICIENT_BALANCE` when
/// balance and overage do not cover it beside all that is held.
#[utoipa::path(post, path = "/credits/reserve", tag = "credits",
    request_body = ReserveInput<'static>,
    responses((status = 201, body = ReservationBody<'static>)))]
async fn reserve_credits(
    State(edge): State<Arc<Edge>>,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let new = body::object::<ReserveInput<'_>>(&mutation.body)?.into_new()?;
    let changed = edge.change(Command::Reserve(Box::new(new)), mutation.identity).await?;
    show(&edge, StatusCode::CREATED, changed)
}

/// Read a reservation
///
/// One that has ended is known for 24 hours more.
#[utoipa::path(get, path = "/credits/reservations/{id}", tag = "credits",
    params(("id" = String, Path)), responses((status = 200, body = ReservationBody<'static>)))]
async fn get_reservation(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    let view = edge.engine.reservation(&ReservationId::new(id))?;
    Ok(reply::json(StatusCode::OK, &ReservationBody::new(&view)))
}

/// Let the usage of a reservation happen
///
/// What is held is given back and the event counts as any other, in one step. Its value may differ; a
/// second commit gives the answer of the first, whatever its event. 409 after a release, 410 when its time
/// is over.
#[utoipa::path(post, path = "/credits/reservations/{id}/commit", tag = "credits",
    params(("id" = String, Path)), request_body = CommitInput<'static>,
    responses((status = 200, body = ReservationBody<'static>)))]
async fn commit_reservation(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let commit = prepare(&edge.engine, ReservationId::new(id), &mutation.body, mutation.identity)?;
    // Until the answer: due work looks whether anybody waits.
    let _arriving = edge.engine.arriving();
    let (answer, answered) = oneshot::channel();
    edge.engine.commit_reservation(commit, move |result| drop(answer.send(result)));
    match answered.await {
        Ok(result) => show(&edge, StatusCode::OK, result.map_err(refusal)?),
        Err(_log_failed) => Err(Failure::NoAnswer),
    }
}

/// Give a reservation back
///
/// A second release gives the answer of the first. 409 after a commit, 410 when its time is over.
#[utoipa::path(post, path = "/credits/reservations/{id}/release", tag = "credits",
    params(("id" = String, Path)), responses((status = 200, body = ReservationBody<'static>)))]
async fn release_reservation(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let command = Command::ReleaseReservation(ReservationId::new(id));
    let changed = edge.change(command, mutation.identity).await?;
    show(&edge, StatusCode::OK, changed)
}

/// Decodes, validates, evaluates and encodes the event of a commit, and looks it up.
fn prepare(
    engine: &Engine,
    id: ReservationId,
    body: &Bytes,
    identity: Option<RequestIdentity>,
) -> Result<Commit, ApiError> {
    let received_at = engine.now();
    let raw = decode_one(body)?;
    if !matches!(raw.timestamp, None | Some(EventValue::Null)) {
        let message = "event.timestamp: an event that commits a reservation happens now";
        return Err(ApiError::invalid("event.timestamp", message));
    }
    let (event, lateness) = validate(raw, received_at, &engine.rules()).map_err(|rejection| {
        engine.count_refused(&rejection);
        refusal(Refused::Event(EventRefusal { event_index: 0, rejection }))
    })?;
    let event_id = EventId::new(&*event.id);
    let mut preparation = engine.preparation(received_at, 1);
    preparation.add(&event, lateness);
    let prepared = preparation.finish().map_err(refusal)?;
    Ok(Commit { id, event_id, prepared, identity })
}

/// An error that names the one event as the body does.
fn refusal(refused: Refused) -> ApiError {
    if let Refused::Event(EventRefusal { rejection, .. }) = refused {
        return ApiError::invalid(&format!("event.{}", rejection.field), rejection.to_string());
    }
    refused.into()
}

fn show(edge: &Edge, status: StatusCode, changed: Changed) -> Result<Response, Failure> {
    let Outcome::Reservation(reservation) = changed.outcome else {
        return Err(ApiError::internal().into());
    };
    let view = edge.engine.reservation_view(reservation)?;
    Ok(reply::json(status, &ReservationBody::new(&view)))
}

impl CheckInput<'_> {
    fn into_ask(self) -> Result<Ask, ApiError> {
        Ok(Ask {
            customer_id: CustomerId::new(text::id("customer_id", self.customer_id)?),
            meter_id: MeterId::new(text::id("meter_id", self.meter_id)?),
            amount: amount(self.amount)?,
            subscription_id: self.subscription_id.map(SubscriptionId::new),
        })
    }
}

impl ReserveInput<'_> {
    fn into_new(self) -> Result<NewReservation, ApiError> {
        let seconds = self.expires_in_seconds.unwrap_or(LIFETIME_SECONDS);
        let seconds =
            within("expires_in_seconds", seconds, 1, LIFETIME_MAX.as_secs().cast_signed())?;
        let asked = CheckInput {
            customer_id: self.customer_id,
            meter_id: self.meter_id,
            amount: self.amount,
            subscription_id: self.subscription_id,
        };
        Ok(NewReservation { ask: asked.into_ask()?, lifetime: Duration::from_secs(seconds) })
    }
}

/// Units of a meter: a number, or the text of one.
fn amount(raw: Option<&RawValue>) -> Result<Quantity, ApiError> {
    let refused = |message: &str| ApiError::invalid("amount", format!("amount: {message}"));
    let raw = raw.ok_or_else(|| ApiError::invalid("amount", "amount is missing"))?.get();
    // What is escaped in a text is no digit.
    let text = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
    let number = Number::new(text);
    let number = number.ok_or_else(|| refused("must be a decimal number such as 100 or 0.5"))?;
    let too_much = |_| refused("must be less than 1000000000000000");
    let quantity = number.to_quantity().map_err(too_much)?;
    if quantity < Quantity::ZERO {
        return Err(refused("must not be negative"));
    }
    Ok(quantity)
}

impl<'a> CheckBody<'a> {
    fn new(asked: &'a Asked, entitlement: &'a EntitlementId) -> Self {
        Self {
            allowed: asked.cover.is_some(),
            credits: asked.credits.to_string(),
            balance: asked.balance.to_string(),
            available_balance: asked.available.to_string(),
            overage: asked.overage.to_string(),
            remaining_headroom: asked.headroom.map(|headroom| headroom.to_string()),
            credit_entitlement_id: entitlement.as_str(),
            subscription_id: asked.subscription.id.as_str(),
        }
    }
}

impl<'a> ReservationBody<'a> {
    fn new(view: &'a ReservationView) -> Self {
        let reservation = &view.reservation;
        let end = reservation.end.as_ref();
        let event = end.and_then(|end| match &end.how {
            Ending::Committed(event) => Some(CommittedBody::from(event)),
            Ending::Released | Ending::TimedOut => None,
        });
        Self {
            reservation_id: reservation.id.as_str(),
            status: view.status.into(),
            customer_id: view.customer_id.as_str(),
            meter_id: view.meter_id.as_str(),
            subscription_id: view.subscription_id.as_str(),
            credit_entitlement_id: view.entitlement_id.as_str(),
            amount: reservation.amount.to_string(),
            credits: reservation.credits().to_string(),
            overage: reservation.hold.overage.to_string(),
            expires_at: Instant(reservation.expires_at),
            created_at: Instant(reservation.created_at),
            ended_at: end.map(|end| Instant(end.at)),
            event,
        }
    }
}

impl<'a> From<&'a CommittedEvent> for CommittedBody<'a> {
    fn from(event: &'a CommittedEvent) -> Self {
        let (duplicate, conflict) = match event.novelty {
            Novelty::New => (false, false),
            Novelty::Duplicate => (true, false),
            Novelty::Conflict => (true, true),
        };
        Self { event_id: event.event_id.as_str(), duplicate, conflict, lsn: event.lsn.0 }
    }
}

impl From<ReservationStatus> for StatusWord {
    fn from(status: ReservationStatus) -> Self {
        match status {
            ReservationStatus::Open => Self::Open,
            ReservationStatus::Committed => Self::Committed,
            ReservationStatus::Released => Self::Released,
            ReservationStatus::TimedOut => Self::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Result<&str, &str>) {
        let raw = RawValue::from_string(json.to_owned()).unwrap();
        let found = amount(Some(&raw)).map(|quantity| quantity.to_string());
        let found = found.map_err(|error| error.body().message.clone());
        let expected = expected.map(str::to_owned).map_err(|error| format!("amount: {error}"));
        assert_eq!(found, expected, "{json}");
    }

    #[test]
    fn amounts_are_numbers_or_texts_of_numbers() {
        for (json, read) in [
            ("0", "0"),
            ("\"0\"", "0"),
            ("1.50", "1.5"),
            ("\"1.50\"", "1.5"),
            ("1e3", "1000"),
            ("999999999999999", "999999999999999"),
        ] {
            check(json, Ok(read));
        }
        for json in ["null", "true", "[]", "{}", "\"\"", "\"x\"", "\" 1\"", "\"\\u0031\""] {
            check(json, Err("must be a decimal number such as 100 or 0.5"));
        }
        check("-1", Err("must not be negative"));
        check("\"-0.1\"", Err("must not be negative"));
        check("1e15", Err("must be less than 1000000000000000"));
    }
}
