//! The route table: each route with the scope it asks for, checked before its handler runs, and the
//! OpenAPI document that describes exactly these routes.
//!
//! Paths and methods are read from the handlers' own descriptions, so that table, router and
//! document cannot differ. Ingest stands in the table and is served elsewhere.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Extension, Router};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Ref,
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use crate::http::auth::{self, Open, RouteScope, SignedIn};
use crate::http::edge::Edge;
use crate::http::reply::{ApiError, ErrorBody};
use crate::http::{
    alerts, billing, checkouts, clock, credits, customers, diagnosis, events, explanation, health,
    ingest, invoices, keys, meters, metrics, outcomes, payments, products, refused, series,
    subscriptions, top_customers, usage, webhooks,
};
use crate::model::Scope;

/// The name of the key in the OpenAPI document.
const BEARER: &str = "bearer";

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// The method.
    pub method: Method,
    /// The path, with `{name}` for a part that varies.
    pub path: String,
    /// The scope a key needs; nothing when no key is needed.
    pub scope: Option<Scope>,
}

/// What decides which routes there are and who may use them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteOptions {
    /// Whether `/metrics` needs no key.
    pub metrics_open: bool,
    /// Whether the test clock's routes exist.
    pub test_clock: bool,
}

/// Every route that a daemon with these options serves.
pub fn route_table(options: RouteOptions) -> Vec<RouteEntry> {
    all(options).entries
}

/// Routes that are being collected.
pub(crate) struct Routes {
    entries: Vec<RouteEntry>,
    document: OpenApi,
    routers: Vec<(Option<Scope>, UtoipaMethodRouter<Arc<Edge>>)>,
}

/// The OpenAPI document's text.
#[derive(Clone, Debug)]
struct Document(Bytes);

impl Routes {
    fn new() -> Self {
        let description = "Usage events in, exact usage out. Beside Quipu's own routes it speaks \
                           the wire format of Dodo Payments' API.";
        let info = InfoBuilder::new()
            .title("Quipu")
            .description(Some(description))
            .version(env!("CARGO_PKG_VERSION"));
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = ComponentsBuilder::new()
            .schema_from::<ErrorBody>()
            .security_scheme(BEARER, SecurityScheme::Http(bearer));
        let document =
            OpenApiBuilder::new().info(info.build()).components(Some(components.build())).build();
        Self { entries: Vec::new(), document, routers: Vec::new() }
    }

    /// Adds routes of one path; a caller needs `S`.
    pub(crate) fn add<S: RouteScope>(mut self, added: UtoipaMethodRouter<Arc<Edge>>) -> Self {
        let (schemas, mut paths, router) = added;
        self.declare(&mut paths, S::NEEDED);
        self.routers.push((S::NEEDED, (schemas, paths, router)));
        self
    }

    /// Adds routes that are served elsewhere under the same scope.
    fn describe<S: RouteScope>(mut self, mut described: OpenApi) -> Self {
        self.declare(&mut described.paths, S::NEEDED);
        self.document.merge(described);
        self
    }

    fn declare(&mut self, paths: &mut Paths, scope: Option<Scope>) {
        for (path, item) in &mut paths.paths {
            for (method, operation) in operations(item) {
                complete(operation, scope);
                self.entries.push(RouteEntry { method, path: path.clone(), scope });
            }
        }
    }

    /// The router of all collected routes, with the document beside them.
    pub(crate) fn into_router(self, edge: &Arc<Edge>) -> Router {
        let mut collected = OpenApiRouter::with_openapi(self.document);
        for (scope, (schemas, paths, router)) in self.routers {
            let router = match scope {
                None => router,
                Some(needed) => {
                    let state = (Arc::clone(edge), needed);
                    router.route_layer(middleware::from_fn_with_state(state, admit))
                }
            };
            collected = collected.routes((schemas, paths, router));
        }
        let (router, document) = collected.split_for_parts();
        let text = document.to_json().expect("the document is plain data");
        router
            .layer(Extension(Document(text.into())))
            .fallback(unknown_path)
            .method_not_allowed_fallback(wrong_method)
            .with_state(Arc::clone(edge))
    }
}

/// All routes.
pub(crate) fn all(options: RouteOptions) -> Routes {
    let routes = Routes::new().describe::<auth::Ingest>(ingest::description());
    let routes = [
        events::routes,
        explanation::routes,
        refused::routes,
        meters::routes,
        diagnosis::routes,
        series::routes,
        top_customers::routes,
        outcomes::routes,
        customers::routes,
        usage::routes,
        credits::routes,
        alerts::routes,
        products::routes,
        subscriptions::routes,
        payments::routes,
        invoices::routes,
        checkouts::routes,
        billing::routes,
        keys::routes,
        webhooks::routes,
    ]
    .into_iter()
    .fold(routes, |routes, add| add(routes));
    let routes = clock::routes(routes, options.test_clock);
    let routes = metrics::routes(routes, options.metrics_open);
    health::routes(routes).add::<Open>(routes!(openapi))
}

/// A part of the path, percent-decoded.
#[derive(Debug)]
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let decoded = Path::from_request_parts(parts, state).await;
        decoded.map(|Path(text)| Self(text)).map_err(|_| not_utf8())
    }
}

/// The two parts of the path that vary, percent-decoded.
#[derive(Debug)]
pub(crate) struct Segments(pub(crate) String, pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let decoded = Path::from_request_parts(parts, state).await;
        decoded.map(|Path((first, second))| Self(first, second)).map_err(|_| not_utf8())
    }
}

fn not_utf8() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "INVALID_REQUEST", "the path is not UTF-8")
}

async fn admit(
    State((edge, needed)): State<(Arc<Edge>, Scope)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let caller = match request.extensions_mut().remove::<SignedIn>() {
        Some(signed_in) => signed_in.caller(needed)?,
        None => auth::authorize(&edge, request.headers(), needed)?,
    };
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

async fn unknown_path() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such route")
}

async fn wrong_method() -> ApiError {
    let message = "this route has other methods";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
}

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "daemon",
    responses((status = 200, description = "The OpenAPI document of this daemon"))
)]
async fn openapi(Extension(Document(text)): Extension<Document>) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let by_method = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PATCH, &mut item.patch),
        (Method::PUT, &mut item.put),
        (Method::DELETE, &mut item.delete),
    ];
    by_method.into_iter().filter_map(|(method, given)| Some((method, given.as_mut()?)))
}

/// Adds what is the same for all operations of a scope: the key and the error.
fn complete(operation: &mut Operation, scope: Option<Scope>) {
    let key = scope.map(|scope| SecurityRequirement::new(BEARER, [auth::word(scope)]));
    operation.security = Some(key.into_iter().collect());
    let schema = Ref::from_schema_name("Error");
    let error = ResponseBuilder::new()
        .description("Any error")
        .content("application/json", ContentBuilder::new().schema(Some(schema)).build())
        .build();
    operation.responses.responses.insert("default".to_owned(), error.into());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const WITH_TEST_CLOCK: RouteOptions = RouteOptions { metrics_open: false, test_clock: true };

    const INGEST: Option<Scope> = Some(Scope::Ingest);
    const READ: Option<Scope> = Some(Scope::Read);
    const ADMIN: Option<Scope> = Some(Scope::Admin);
    const SCOPES: &[(&str, Option<Scope>)] = &[
        ("POST /events/ingest", INGEST),
        ("GET /events", READ),
        ("GET /events/{event_id}", READ),
        ("GET /events/{event_id}/explanation", READ),
        ("GET /refused-events", READ),
        ("GET /meters", READ),
        ("POST /meters", ADMIN),
        ("GET /meters/{id}", READ),
        ("GET /meters/{id}/diagnosis", READ),
        ("POST /meters/preview", READ),
        ("GET /meters/{id}/series", READ),
        ("GET /meters/{id}/top-customers", READ),
        ("GET /event-outcomes", READ),
        ("PATCH /meters/{id}", ADMIN),
        ("DELETE /meters/{id}", ADMIN),
        ("POST /meters/{id}/unarchive", ADMIN),
        ("GET /customers", READ),
        ("POST /customers", ADMIN),
        ("GET /customers/{customer_id}", READ),
        ("PATCH /customers/{customer_id}", ADMIN),
        ("GET /usage", READ),
        ("GET /products", READ),
        ("POST /products", ADMIN),
        ("GET /products/{id}", READ),
        ("PATCH /products/{id}", ADMIN),
        ("DELETE /products/{id}", ADMIN),
        ("DELETE /subscriptions/{subscription_id}/change-plan/scheduled", ADMIN),
        ("POST /products/{id}/unarchive", ADMIN),
        ("GET /credit-entitlements", READ),
        ("POST /credit-entitlements", ADMIN),
        ("GET /credit-entitlements/{id}", READ),
        ("PATCH /credit-entitlements/{id}", ADMIN),
        ("DELETE /credit-entitlements/{id}", ADMIN),
        ("POST /credit-entitlements/{id}/undelete", ADMIN),
        ("GET /credit-entitlements/{id}/balances", READ),
        ("GET /credit-entitlements/{id}/balances/{customer_id}", READ),
        ("GET /credit-entitlements/{id}/balances/{customer_id}/grants", READ),
        ("GET /credit-entitlements/{id}/balances/{customer_id}/ledger", READ),
        ("POST /credit-entitlements/{id}/balances/{customer_id}/ledger-entries", ADMIN),
        ("GET /customers/{customer_id}/credit-entitlements", READ),
        ("GET /subscriptions/{subscription_id}/credit-usage", READ),
        ("POST /credits/check", INGEST),
        ("POST /credits/reserve", INGEST),
        ("GET /credits/reservations/{id}", INGEST),
        ("POST /credits/reservations/{id}/commit", INGEST),
        ("POST /credits/reservations/{id}/release", INGEST),
        ("GET /subscriptions", READ),
        ("POST /subscriptions", ADMIN),
        ("POST /subscriptions/{subscription_id}/change-plan", ADMIN),
        ("POST /subscriptions/{subscription_id}/change-plan/preview", READ),
        ("POST /subscriptions/{subscription_id}/charge", ADMIN),
        ("GET /subscriptions/{subscription_id}", READ),
        ("PATCH /subscriptions/{subscription_id}", ADMIN),
        ("GET /subscriptions/{subscription_id}/usage-history", READ),
        ("GET /customers/{customer_id}/upcoming-invoice", READ),
        ("GET /payments", READ),
        ("GET /payments/{payment_id}", READ),
        ("GET /payments/{payment_id}/line-items", READ),
        ("GET /payments/{payment_id}/retry", READ),
        ("POST /payments/{payment_id}/retry", ADMIN),
        ("POST /payments/{payment_id}/mark", ADMIN),
        ("GET /invoices", READ),
        ("GET /invoices/{id}", READ),
        ("GET /invoices/payments/{payment_id}", READ),
        ("POST /checkouts", ADMIN),
        ("GET /checkouts/{id}", READ),
        ("GET /checkout/{session_id}", None),
        ("POST /checkout/{session_id}", None),
        ("GET /checkout.css", None),
        ("GET /billing/status", READ),
        ("GET /alerts", READ),
        ("POST /alerts", ADMIN),
        ("GET /alerts/{id}", READ),
        ("DELETE /alerts/{id}", ADMIN),
        ("GET /webhooks", READ),
        ("POST /webhooks", ADMIN),
        ("GET /webhooks/{webhook_id}", READ),
        ("PATCH /webhooks/{webhook_id}", ADMIN),
        ("DELETE /webhooks/{webhook_id}", ADMIN),
        ("GET /webhooks/{webhook_id}/secret", ADMIN),
        ("POST /webhooks/{webhook_id}/secret/rotate", ADMIN),
        ("GET /webhooks/{webhook_id}/headers", ADMIN),
        ("PATCH /webhooks/{webhook_id}/headers", ADMIN),
        ("GET /webhooks/{webhook_id}/attempts", READ),
        ("POST /webhooks/{webhook_id}/messages/{message_id}/resend", ADMIN),
        ("POST /webhooks/{webhook_id}/recover", ADMIN),
        ("POST /webhooks/{webhook_id}/test", ADMIN),
        ("GET /keys", ADMIN),
        ("POST /keys", ADMIN),
        ("DELETE /keys/{id}", ADMIN),
        ("GET /clock", READ),
        ("POST /clock/advance", ADMIN),
        ("POST /clock/confirm", ADMIN),
        ("GET /metrics", READ),
        ("GET /healthz", None),
        ("GET /readyz", None),
        ("GET /openapi.json", None),
    ];

    #[test]
    fn every_route_declares_its_scope() {
        let table = route_table(WITH_TEST_CLOCK);
        let found: Vec<_> = table
            .iter()
            .map(|entry| (format!("{} {}", entry.method, entry.path), entry.scope))
            .collect();
        let found: Vec<_> = found.iter().map(|(route, scope)| (route.as_str(), *scope)).collect();
        assert_eq!(sorted(&found), sorted(SCOPES));
    }

    fn sorted<'a>(routes: &[(&'a str, Option<Scope>)]) -> Vec<(&'a str, Option<Scope>)> {
        let mut routes = routes.to_vec();
        routes.sort_by_key(|(route, _)| *route);
        routes
    }

    #[test]
    fn options_decide_on_the_test_clock_and_on_open_metrics() {
        let table = route_table(RouteOptions { metrics_open: true, test_clock: false });
        let scope_of =
            |path: &str| table.iter().find(|entry| entry.path == path).map(|entry| entry.scope);
        assert_eq!(scope_of("/metrics"), Some(None));
        assert_eq!(scope_of("/clock"), None);
        assert_eq!(scope_of("/clock/advance"), None);
        assert_eq!(scope_of("/clock/confirm"), Some(Some(Scope::Admin)));
    }

    fn document() -> serde_json::Value {
        let routes = all(WITH_TEST_CLOCK);
        let mut document = OpenApiRouter::with_openapi(routes.document);
        for (_, router) in routes.routers {
            document = document.routes(router);
        }
        serde_json::to_value(document.get_openapi()).unwrap()
    }

    #[test]
    fn the_document_holds_every_route_with_its_key_and_the_error() {
        let document = document();
        for entry in route_table(WITH_TEST_CLOCK) {
            let method = entry.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][&entry.path][&method];
            assert!(operation.is_object(), "{entry:?}");
            let expected = match entry.scope {
                None => serde_json::json!([]),
                Some(scope) => serde_json::json!([{ "bearer": [auth::word(scope)] }]),
            };
            assert_eq!(operation["security"], expected, "{entry:?}");
            let error = &operation["responses"]["default"]["content"]["application/json"];
            assert_eq!(error["schema"]["$ref"], "#/components/schemas/Error", "{entry:?}");
        }
        assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    }

    #[test]
    fn every_schema_that_is_referred_to_is_defined() {
        let document = document();
        let mut references = BTreeSet::new();
        collect_references(&document, &mut references);
        for reference in references {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    fn collect_references(value: &serde_json::Value, references: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(members) => {
                for (name, member) in members {
                    match member.as_str() {
                        Some(text) if name == "$ref" => {
                            references.insert(text.to_owned());
                        }
                        Some(_) | None => collect_references(member, references),
                    }
                }
            }
            serde_json::Value::Array(items) => {
                for item in items {
                    collect_references(item, references);
                }
            }
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::String(_) => {}
        }
    }
}
