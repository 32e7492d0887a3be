//! What a change of a meter leaves behind.

use std::sync::Arc;

use crate::engine::command::{MeterPatch, NewMeter, Refused};
use crate::engine::state::State;
use crate::model::{Meter, MeterId, MeterIndex, Timestamp};
use crate::storage::codec;

/// More meters than anybody defines by hand; each one of an event's name costs that event time.
const METERS_MAX: usize = 10_000;
/// Bytes of all meters together, most of them filters: half of what a value on disk may have.
const CATALOGUE_BYTES_MAX: usize = 8 * 1024 * 1024;

pub(in crate::engine) fn create_meter(
    new: &NewMeter,
    state: &State,
    id: Arc<str>,
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

pub(super) fn update_meter(
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

pub(super) fn set_archived(
    id: &MeterId,
    archived: bool,
    state: &State,
    at: Timestamp,
) -> Result<Meter, Refused> {
    let meter = existing_meter(id, state)?;
    let updated_at = if meter.archived == archived { meter.updated_at } else { at };
    Ok(Meter { updated_at, archived, ..meter })
}
