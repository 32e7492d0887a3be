//! What a change of a webhook endpoint leaves behind.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::command::Refused;
use crate::engine::command::webhooks::{EndpointPatch, NewEndpoint, WebhookCommand};
use crate::engine::record::{Change, WebhookChange};
use crate::engine::shared::Shared;
use crate::model::webhook::{Disabled, RetiredSecret, WebhookSecret};
use crate::model::{Endpoint, EndpointId, Timestamp};
use crate::world::entropy::draw;

use super::Moment;

/// Endpoints at once: each is told of everything, and has requests of its own under way.
pub const ENDPOINTS_MAX: usize = 50;

/// Headers of an endpoint.
pub const HEADERS_MAX: usize = 20;

/// How long a key is used on that another has taken the place of.
pub const ROTATION_OVERLAP: Duration = Duration::from_hours(24);

/// Retired keys that are used on at once: a request carries a signature of each.
const RETIRED_MAX: usize = 4;

pub(super) fn decide(command: &WebhookCommand, moment: Moment<'_>) -> Result<Change, Refused> {
    let Moment { shared, at, .. } = moment;
    let endpoint = match command {
        WebhookCommand::Create(new) => create(new, moment)?,
        WebhookCommand::Update(id, patch) => update(existing(id, shared)?, patch, at),
        WebhookCommand::SetHeaders(id, headers) => set_headers(existing(id, shared)?, headers, at)?,
        WebhookCommand::RotateSecret(id) => rotate(existing(id, shared)?, moment)?,
        WebhookCommand::Delete(id) => {
            Endpoint { deleted: true, updated_at: at, ..existing(id, shared)? }
        }
        WebhookCommand::Test(id) => {
            let endpoint = enabled(id, shared)?;
            return Ok(Change::Webhook(WebhookChange::Tested(endpoint.index, endpoint.id)));
        }
        WebhookCommand::Requeue(id, messages) => {
            let (endpoint, due) = (enabled(id, shared)?.index, shared.world.clock.real());
            let messages = messages.clone();
            return Ok(Change::Webhook(WebhookChange::Requeued { endpoint, messages, due }));
        }
    };
    Ok(Change::Endpoint(Arc::new(endpoint)))
}

fn create(new: &NewEndpoint, moment: Moment<'_>) -> Result<Endpoint, Refused> {
    let Moment { shared, at, .. } = moment;
    let (count, index) =
        shared.state.with_outbox(|outbox| (outbox.endpoint_count(), outbox.next_endpoint()));
    if count >= ENDPOINTS_MAX {
        let message = format!("there are {ENDPOINTS_MAX} webhook endpoints already");
        return Err(Refused::Conflict(message));
    }
    few_headers(&new.headers)?;
    Ok(Endpoint {
        id: EndpointId::new(moment.new_id("whk")),
        index,
        url: new.url.clone(),
        description: new.description.clone(),
        disabled: new.disabled.then_some(Disabled::ByRequest),
        filter: new.filter.clone(),
        headers: new.headers.clone(),
        metadata: new.metadata.clone(),
        rate_limit: new.rate_limit,
        secret: moment.new_secret(),
        retired: Vec::new(),
        failing_since: None,
        created_at: at,
        updated_at: at,
        deleted: false,
    })
}

/// Another address, and being enabled, begin a new count of failures.
fn update(old: Endpoint, patch: &EndpointPatch, at: Timestamp) -> Endpoint {
    let is_moved = patch.url.as_ref().is_some_and(|url| *url != old.url);
    let begins_anew = is_moved || patch.disabled == Some(false);
    Endpoint {
        url: patch.url.clone().unwrap_or(old.url),
        description: patch.description.clone().unwrap_or(old.description),
        disabled: match patch.disabled {
            None => old.disabled,
            Some(false) => None,
            Some(true) => Some(Disabled::ByRequest),
        },
        filter: patch.filter.clone().unwrap_or(old.filter),
        metadata: patch.metadata.clone().unwrap_or(old.metadata),
        rate_limit: patch.rate_limit.unwrap_or(old.rate_limit),
        failing_since: if begins_anew { None } else { old.failing_since },
        updated_at: at,
        ..old
    }
}

fn set_headers(
    old: Endpoint,
    changes: &[(String, Option<String>)],
    at: Timestamp,
) -> Result<Endpoint, Refused> {
    let mut headers = old.headers.clone();
    for (name, value) in changes {
        headers.retain(|(known, _)| known != name);
        headers.extend(value.iter().map(|value| (name.clone(), value.clone())));
    }
    few_headers(&headers)?;
    Ok(Endpoint { headers, updated_at: at, ..old })
}

fn few_headers(headers: &[(String, String)]) -> Result<(), Refused> {
    if headers.len() > HEADERS_MAX {
        let message = format!("an endpoint has at most {HEADERS_MAX}");
        return Err(Refused::invalid("headers", message));
    }
    Ok(())
}

fn rotate(old: Endpoint, moment: Moment<'_>) -> Result<Endpoint, Refused> {
    let now = moment.shared.world.clock.real();
    let mut retired = old.retired.clone();
    retired.retain(|retired| now < retired.until);
    if retired.len() >= RETIRED_MAX {
        let message =
            format!("{RETIRED_MAX} keys of this endpoint are still used on after a rotation");
        return Err(Refused::Conflict(message));
    }
    retired.push(RetiredSecret { secret: old.secret, until: now.plus(ROTATION_OVERLAP) });
    Ok(Endpoint { secret: moment.new_secret(), retired, updated_at: moment.at, ..old })
}

/// The endpoint, unless nothing is sent to it.
fn enabled(id: &EndpointId, shared: &Shared) -> Result<Endpoint, Refused> {
    let endpoint = existing(id, shared)?;
    if endpoint.disabled.is_some() {
        return Err(Refused::Conflict("this webhook endpoint is disabled".to_owned()));
    }
    Ok(endpoint)
}

fn existing(id: &EndpointId, shared: &Shared) -> Result<Endpoint, Refused> {
    let found = shared.state.with_outbox(|outbox| outbox.endpoint_by_id(id).cloned());
    found.map(Arc::unwrap_or_clone).ok_or(Refused::NotFound("webhook endpoint"))
}

impl Moment<'_> {
    fn new_secret(&self) -> WebhookSecret {
        WebhookSecret(draw(&*self.shared.world.entropy))
    }
}
