//! Webhooks on the wire: where an application is told what has happened.

mod address;
mod attempts;
mod connect;
mod deliver;
mod endpoints;
mod input;
mod pace;
mod payload;
mod post;
mod sign;
mod url;

use crate::http::route::Routes;

pub(in crate::http) use attempts::{place, text_of as place_text};
pub(in crate::http) use deliver::run as deliver;
pub(in crate::http) use payload::body as message_body;

/// Adds the routes of webhooks.
pub(super) fn routes(routes: Routes) -> Routes {
    attempts::routes(endpoints::routes(routes))
}
