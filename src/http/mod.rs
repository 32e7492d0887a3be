//! The edge: sockets, JSON, status codes. The only folder with async code.
//!
//! A request is checked for its host, its key and its size before any work is done for it. Ingest
//! goes straight from the body to the committer; every other route is a handler of a router, one
//! file a resource. Nothing here decides what is counted, and no handler that is dropped loses more
//! than its reply.

mod address;
mod alerts;
mod auth;
mod billing;
mod body;
mod cart;
mod checkouts;
mod clock;
mod countries;
mod credits;
mod customers;
mod dashboard;
pub mod decode;
mod diagnosis;
mod dispatch;
mod document;
mod edge;
mod events;
mod explanation;
mod filter;
mod floor;
mod health;
mod host;
mod identity;
mod ingest;
mod invoice_line;
mod invoices;
mod keys;
mod link;
mod meters;
mod metrics;
mod outcomes;
mod page;
mod payments;
mod period;
mod price;
mod products;
mod query;
mod rate;
mod refusal;
mod refused;
mod reply;
mod route;
mod scalar;
mod series;
mod server;
mod socket;
mod subscriptions;
mod text;
mod top_customers;
mod usage;
mod webhooks;

pub use edge::{Edge, EdgeOptions, KeyMaker, Layer, NewKeyText, ShownSetting};
pub use filter::{filter_of_json, json_of_filter};
pub use floor::{Floor, serve_floor};
pub use page::Paging;
pub use query::Parameters;
pub use reply::ApiError;
pub use route::{RouteEntry, RouteOptions, route_table};
pub use server::serve;
