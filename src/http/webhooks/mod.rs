//! Webhooks on the wire: where an application is told what has happened.

mod address;
mod attempts;
mod connect;
mod deliver;
mod endpoints;
mod input;
mod payload;
mod post;
mod sign;
mod url;

use crate::http::route::Routes;

pub(in crate::http) use deliver::run as deliver;

/// Adds the routes of webhooks.
pub(super) fn routes(routes: Routes) -> Routes {
    attempts::routes(endpoints::routes(routes))
}
