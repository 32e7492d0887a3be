//! API keys: listed without their secrets, shown once when they are made.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::command::NewKey;
use crate::engine::{Command, Outcome};
use crate::http::auth::Admin;
use crate::http::body;
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::page::{self, Items, Paging};
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::text::{self, Instant};
use crate::model::{ApiKey, KeyId, Scope};

/// A key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
struct KeyBody<'a> {
    id: &'a str,
    name: &'a str,
    scope: ScopeWord,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewKey)]
struct NewKeyBody<'a> {
    id: &'a str,
    name: &'a str,
    scope: ScopeWord,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    /// The secret text for the `Authorization` header. It is shown this once.
    key: &'a str,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Scope)]
#[serde(rename_all = "snake_case")]
enum ScopeWord {
    /// Send events.
    Ingest,
    /// Read anything but keys.
    Read,
    /// Everything.
    Admin,
}

#[derive(Debug, Deserialize, ToSchema)]
struct KeyCreate {
    #[schema(value_type = String)]
    name: Option<String>,
    #[schema(value_type = ScopeWord)]
    scope: Option<ScopeWord>,
}

/// Adds the routes of keys.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.add::<Admin>(routes!(list_keys, create_key)).add::<Admin>(routes!(delete_key))
}

/// List keys
///
/// Newest first, without their secrets.
#[utoipa::path(get, path = "/keys", tag = "keys",
    params(("page_size" = Option<u32>, Query), ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<KeyBody<'static>>)))]
async fn list_keys(State(edge): State<Arc<Edge>>, paging: Paging) -> Response {
    let keys = edge.engine.keys();
    let items = paging.of(keys.iter().map(KeyBody::from));
    reply::json(StatusCode::OK, &Items { items })
}

/// Make a key
///
/// The answer shows its secret this once; a repeated request cannot show it again.
#[utoipa::path(post, path = "/keys", tag = "keys", request_body = KeyCreate,
    responses((status = 201, body = NewKeyBody<'static>)))]
async fn create_key(
    State(edge): State<Arc<Edge>>,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let (name, scope) = body::object::<KeyCreate>(&mutation.body)?.checked()?;
    let drawn = (edge.key_maker)();
    let new = NewKey { id: drawn.id, name, scope, digest: drawn.digest };
    let changed = edge.change(Command::CreateKey(new), mutation.identity).await?;
    let Outcome::Key(key) = changed.outcome else {
        return Err(ApiError::internal().into());
    };
    if changed.replayed {
        let message = format!(
            "this request made the key {} before, and its secret was shown then; delete it and \
             make another one if the secret is lost",
            key.id
        );
        return Err(ApiError::conflict(message).into());
    }
    let KeyBody { id, name, scope, created_at } = KeyBody::from(&key);
    let shown = NewKeyBody { id, name, scope, created_at, key: &drawn.text };
    Ok(reply::json(StatusCode::CREATED, &shown))
}

/// Delete a key
///
/// It opens nothing from then on.
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys", params(("id" = String, Path)),
    responses((status = 204)))]
async fn delete_key(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<StatusCode, Failure> {
    edge.change(Command::DeleteKey(KeyId::new(id)), mutation.identity).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl KeyCreate {
    fn checked(self) -> Result<(String, Scope), ApiError> {
        let name = text::required("name", self.name, text::NAME_CHARS_MAX)?;
        let scope = self.scope.ok_or_else(|| ApiError::missing("scope"))?;
        Ok((name, scope.into()))
    }
}

impl<'a> From<&'a ApiKey> for KeyBody<'a> {
    fn from(key: &'a ApiKey) -> Self {
        Self {
            id: key.id.as_str(),
            name: &key.name,
            scope: key.scope.into(),
            created_at: Instant(key.created_at),
        }
    }
}

impl From<ScopeWord> for Scope {
    fn from(word: ScopeWord) -> Self {
        match word {
            ScopeWord::Ingest => Self::Ingest,
            ScopeWord::Read => Self::Read,
            ScopeWord::Admin => Self::Admin,
        }
    }
}

impl From<Scope> for ScopeWord {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Ingest => Self::Ingest,
            Scope::Read => Self::Read,
            Scope::Admin => Self::Admin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_needs_a_name_and_one_of_three_scopes() {
        let read = |text: &str| {
            let read = body::object::<KeyCreate>(text.as_bytes()).and_then(KeyCreate::checked);
            read.map_err(|error| error.status().as_u16())
        };
        let expected = Ok(("ci".to_owned(), Scope::Ingest));
        assert_eq!(read(r#"{"name":"ci","scope":"ingest"}"#), expected);
        for text in
            [r#"{"name":"ci"}"#, r#"{"scope":"read"}"#, r#"{"name":"","scope":"read"}"#, "{}"]
        {
            assert_eq!(read(text), Err(422), "{text}");
        }
        assert_eq!(read(r#"{"name":"ci","scope":"root"}"#), Err(422));
    }
}
