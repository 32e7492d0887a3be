//! What a change leaves behind: decided against the state, with nothing in flight.

use std::time::Duration;

use crate::engine::ClockState;
use crate::engine::command::{
    Changed, Command, CustomerPatch, MeterPatch, NewCustomer, NewKey, NewMeter, Outcome, Refused,
    RequestIdentity,
};
use crate::engine::record::{Body, Change, ChangeEntry};
use crate::engine::replies::{Recognised, Reply};
use crate::engine::shared::Shared;
use crate::engine::state::State;
use crate::model::id::generated;
use crate::model::{
    ApiKey, Customer, CustomerId, CustomerOrigin, Hour, KeyId, Lsn, Meter, MeterId, MeterIndex,
    Timestamp,
};
use crate::storage::codec;
use crate::world::entropy::draw;

/// More meters than anybody defines by hand; each one of an event's name costs that event time.
const METERS_MAX: usize = 10_000;
/// Bytes of all meters together, most of them filters: half of what a value on disk may have.
const CATALOGUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How far the wall clock may be behind log time before due work waits.
pub const CLOCK_BEHIND_MAX: Duration = Duration::from_mins(5);

/// A change that is asked for.
#[derive(Debug)]
pub struct Proposal {
    /// The change.
    pub command: Command,
    /// What a repetition is recognised by.
    pub identity: Option<RequestIdentity>,
}

impl Proposal {
    /// Whether it says that the wall clock is right.
    pub fn confirms_clock(&self) -> bool {
        matches!(self.command, Command::ConfirmClock)
    }
}

/// What becomes of a proposal.
#[derive(Debug)]
pub enum Decision {
    /// It repeats an earlier request; this was the answer.
    Repeat(Box<Changed>),
    /// This record is to be logged.
    Apply {
        /// The record.
        body: Box<Body<'static>>,
        /// Its log time: that of the last record or later, unless it sets the clock.
        log_time: Timestamp,
        /// The answer.
        outcome: Box<Outcome>,
    },
}

/// What a command comes to.
enum Plan {
    Object(Change),
    Clock { now: Timestamp, log_time: Timestamp },
}

/// How far the decided records go, which the state may not know of yet.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// The log time of the last record.
    pub log_time: Timestamp,
    /// Hours before this one are closed, or will be by the checkpoint that is being made.
    pub closed_through: Hour,
}

/// Decides on a proposal.
///
/// # Errors
/// Why it is refused; nothing changes then.
pub fn decide(proposal: &Proposal, shared: &Shared, marks: Marks) -> Result<Decision, Refused> {
    let at = marks.log_time.max(shared.world.clock.wall());
    if let Some(identity) = &proposal.identity {
        // A time in doubt makes no answer old.
        let now = if shared.clock_in_doubt() { marks.log_time } else { at };
        match shared.state.with_replies(|replies| replies.recognise(identity, now)) {
            Recognised::New => {}
            Recognised::KeyReused => return Err(Refused::IdempotencyKeyReused),
            Recognised::Repeated(lsn, reply) => {
                return Ok(Decision::Repeat(Box::new(repeat(lsn, &reply, shared))));
            }
        }
    }
    let identity = proposal.identity.map(Into::into);
    let (body, log_time, outcome) = match plan(&proposal.command, shared, marks, at)? {
        Plan::Object(change) => {
            let outcome = change.outcome().ok_or(Refused::Busy)?;
            (Body::Change(ChangeEntry { change, identity }), at, outcome)
        }
        Plan::Clock { now, log_time } => {
            let clock = clock_state(shared, now, log_time);
            (Body::ClockSet(identity), log_time, Outcome::Clock(clock))
        }
    };
    Ok(Decision::Apply { body: Box::new(body), log_time, outcome: Box::new(outcome) })
}

fn plan(command: &Command, shared: &Shared, marks: Marks, at: Timestamp) -> Result<Plan, Refused> {
    let state = &shared.state;
    let random = || draw(&*shared.world.entropy);
    let change = match command {
        Command::CreateMeter(new) => {
            Change::Meter(create_meter(new, state, generated("mtr", random()), at)?)
        }
        Command::UpdateMeter(id, patch) => Change::Meter(update_meter(id, patch, state, at)?),
        Command::ArchiveMeter(id) => Change::Meter(set_archived(id, true, state, at)?),
        Command::UnarchiveMeter(id) => Change::Meter(set_archived(id, false, state, at)?),
        Command::CreateCustomer(new) => {
            Change::Customer(create_customer(new, state, generated("cus", random()), at)?)
        }
        Command::UpdateCustomer(id, patch) => {
            Change::Customer(update_customer(id, patch, state, at)?)
        }
        Command::CreateKey(new) => Change::Key(create_key(new, state, at)?),
        Command::DeleteKey(id) => Change::Key(delete_key(id, state, at)?),
        Command::AdvanceClock(to) => {
            advance_clock(*to, shared, at)?;
            return Ok(Plan::Clock { now: *to, log_time: *to });
        }
        Command::ConfirmClock => {
            let now = shared.world.clock.wall();
            return Ok(Plan::Clock { now, log_time: confirm_clock(shared, marks) });
        }
    };
    Ok(Plan::Object(change))
}

fn repeat(lsn: Lsn, reply: &Reply, shared: &Shared) -> Changed {
    let outcome = reply.change.as_ref().and_then(Change::outcome);
    let outcome = outcome
        .unwrap_or_else(|| Outcome::Clock(clock_state(shared, reply.log_time, reply.log_time)));
    Changed { outcome, replayed: true, lsn }
}

fn clock_state(shared: &Shared, now: Timestamp, log_time: Timestamp) -> ClockState {
    ClockState { now, log_time, is_test: shared.is_test_clock(), in_doubt: false }
}

fn advance_clock(to: Timestamp, shared: &Shared, at: Timestamp) -> Result<(), Refused> {
    if !shared.is_test_clock() {
        return Err(Refused::Conflict("only a test clock can be moved".to_owned()));
    }
    if to < at {
        return Err(Refused::Invalid {
            field: "to",
            message: format!("the test clock only moves forward; it stands at {at}"),
        });
    }
    Ok(())
}

/// Log time after the wall clock was confirmed: set back to it when it is far behind, but never to
/// where a closed period would open again.
fn confirm_clock(shared: &Shared, marks: Marks) -> Timestamp {
    let wall = shared.world.clock.wall();
    if wall.plus(CLOCK_BEHIND_MAX) >= marks.log_time {
        return marks.log_time.max(wall);
    }
    let closed = marks.closed_through.start();
    wall.max(closed.plus(shared.options.grace)).min(marks.log_time)
}

fn create_meter(
    new: &NewMeter,
    state: &State,
    id: String,
    at: Timestamp,
) -> Result<Meter, Refused> {
    let count = state.catalogue().meters().len();
    if count >= METERS_MAX {
        return Err(Refused::Conflict(format!("there are {METERS_MAX} meters already")));
    }
    let meter = Meter {
        id: MeterId::new(id),
        // Fits: the count is below METERS_MAX.
        index: MeterIndex(u32::try_from(count).unwrap_or(u32::MAX)),
        name: new.name.clone(),
        description: new.description.clone(),
        event_name: new.event_name.clone(),
        measurement_unit: new.measurement_unit.clone(),
        aggregation: new.aggregation.clone(),
        filter: new.filter.clone(),
        created_at: at,
        updated_at: at,
        archived: false,
    };
    check_catalogue_bytes(state, &meter)?;
    Ok(meter)
}

/// A checkpoint writes all meters at once.
fn check_catalogue_bytes(state: &State, changed: &Meter) -> Result<(), Refused> {
    let catalogue = state.catalogue();
    let mut bytes = Vec::new();
    codec::encode(changed, &mut bytes);
    for meter in catalogue.meters().iter().filter(|meter| meter.index != changed.index) {
        codec::encode(meter, &mut bytes);
        if bytes.len() > CATALOGUE_BYTES_MAX {
            let limit = CATALOGUE_BYTES_MAX >> 20;
            return Err(Refused::Conflict(format!("all meters together take {limit} MiB already")));
        }
    }
    Ok(())
}

fn existing_meter(id: &MeterId, state: &State) -> Result<Meter, Refused> {
    state.catalogue().meter(id).cloned().ok_or(Refused::NotFound("meter"))
}

fn update_meter(
    id: &MeterId,
    patch: &MeterPatch,
    state: &State,
    at: Timestamp,
) -> Result<Meter, Refused> {
    let meter = existing_meter(id, state)?;
    Ok(Meter {
        name: patch.name.clone().unwrap_or(meter.name),
        description: patch.description.clone().unwrap_or(meter.description),
        measurement_unit: patch.measurement_unit.clone().unwrap_or(meter.measurement_unit),
        updated_at: at,
        ..meter
    })
}

fn set_archived(
    id: &MeterId,
    archived: bool,
    state: &State,
    at: Timestamp,
) -> Result<Meter, Refused> {
    let meter = existing_meter(id, state)?;
    let updated_at = if meter.archived == archived { meter.updated_at } else { at };
    Ok(Meter { updated_at, archived, ..meter })
}

fn create_customer(
    new: &NewCustomer,
    state: &State,
    generated_id: String,
    at: Timestamp,
) -> Result<Customer, Refused> {
    let id = new.id.clone().unwrap_or_else(|| CustomerId::new(generated_id));
    let existing = state.with_accounts(|accounts| accounts.get(id.as_str()).cloned());
    let base = match existing {
        Some(customer) if customer.created_by == CustomerOrigin::Ingest => {
            Customer::clone(&customer)
        }
        Some(_) => return Err(Refused::Conflict(format!("customer {id} exists already"))),
        None => {
            let index = state.with_accounts(crate::engine::accounts::Accounts::next_index);
            Customer::from_ingest(id, index, at)
        }
    };
    Ok(Customer {
        name: new.name.clone(),
        email: new.email.clone(),
        phone_number: new.phone_number.clone(),
        preferred_locale: new.preferred_locale.clone(),
        metadata: new.metadata.clone(),
        updated_at: at,
        created_by: CustomerOrigin::Api,
        ..base
    })
}

fn update_customer(
    id: &CustomerId,
    patch: &CustomerPatch,
    state: &State,
    at: Timestamp,
) -> Result<Customer, Refused> {
    let existing = state.with_accounts(|accounts| accounts.get(id.as_str()).cloned());
    let customer = Customer::clone(&*existing.ok_or(Refused::NotFound("customer"))?);
    Ok(Customer {
        name: patch.name.clone().unwrap_or(customer.name),
        email: patch.email.clone().unwrap_or(customer.email),
        phone_number: patch.phone_number.clone().unwrap_or(customer.phone_number),
        preferred_locale: patch.preferred_locale.clone().unwrap_or(customer.preferred_locale),
        metadata: patch.metadata.clone().unwrap_or(customer.metadata),
        updated_at: at,
        ..customer
    })
}

fn create_key(new: &NewKey, state: &State, at: Timestamp) -> Result<ApiKey, Refused> {
    if state.key(new.id.as_str()).is_some() {
        return Err(Refused::Conflict(format!("key {} exists already", new.id)));
    }
    Ok(ApiKey {
        id: new.id.clone(),
        name: new.name.clone(),
        scope: new.scope,
        digest: new.digest,
        created_at: at,
        deleted_at: None,
    })
}

fn delete_key(id: &KeyId, state: &State, at: Timestamp) -> Result<ApiKey, Refused> {
    let key = state.key(id.as_str()).filter(|key| key.deleted_at.is_none());
    let key = key.ok_or(Refused::NotFound("key"))?;
    Ok(ApiKey { deleted_at: Some(at), ..key })
}
