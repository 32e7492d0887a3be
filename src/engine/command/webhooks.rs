//! Changes of webhook endpoints.

use crate::model::{EndpointId, EventType, MessageId};

/// A change of a webhook endpoint; the caller has checked texts and limits.
#[derive(Clone, Debug)]
pub enum WebhookCommand {
    /// Make one.
    Create(NewEndpoint),
    /// Change one.
    Update(EndpointId, EndpointPatch),
    /// Set headers of its requests, or take those out that have no value; others stay.
    SetHeaders(EndpointId, Vec<(String, Option<String>)>),
    /// Sign with another key; the present one goes on for a day beside it.
    RotateSecret(EndpointId),
    /// Send nothing there any more, and forget what waits for it.
    Delete(EndpointId),
    /// Send a message that tells of nothing.
    Test(EndpointId),
    /// Send these messages once more; the caller has seen that they are for it.
    Requeue(EndpointId, Vec<MessageId>),
}

/// An endpoint to be made.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    /// Where messages go.
    pub url: String,
    /// A text for people.
    pub description: String,
    /// Whether nothing is sent to it yet.
    pub disabled: bool,
    /// What it is told of; everything when there is none.
    pub filter: Option<Vec<EventType>>,
    /// Headers that every request gets.
    pub headers: Vec<(String, String)>,
    /// Free details.
    pub metadata: Vec<(String, String)>,
    /// Messages a second at most.
    pub rate_limit: Option<u32>,
}

/// Changes of an endpoint; `None` keeps.
#[derive(Clone, Debug, Default)]
pub struct EndpointPatch {
    /// Where messages go.
    pub url: Option<String>,
    /// A text for people.
    pub description: Option<String>,
    /// Whether nothing is sent to it.
    pub disabled: Option<bool>,
    /// What it is told of; `Some(None)`: everything.
    pub filter: Option<Option<Vec<EventType>>>,
    /// Free details.
    pub metadata: Option<Vec<(String, String)>>,
    /// Messages a second at most; `Some(None)`: any number.
    pub rate_limit: Option<Option<u32>>,
}
