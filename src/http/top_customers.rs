//! The customers that use most of a meter, on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::leaders::{Ranking, TopCustomers};
use crate::http::auth::Read;
use crate::http::edge::Edge;
use crate::http::page::Paging;
use crate::http::period::PeriodBody;
use crate::http::reply::{self, Failure};
use crate::http::route::{Routes, Segment};
use crate::model::MeterId;

/// The customers that use most of a meter.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TopCustomers)]
struct TopBody<'a> {
    meter_id: &'a str,
    state: StateWord,
    /// In this UTC month; `null` while the lists are being put together.
    month: Option<RankingBody<'a>>,
    /// On this UTC day; `null` while the lists are being put together.
    day: Option<RankingBody<'a>>,
    /// The log position that the lists reflect; they may reflect later ones. 0 while they are being put
    /// together.
    as_of_lsn: u64,
    /// Whether the meter has yet to count events that came before it was made.
    backfilling: bool,
}

/// `building`: nobody has asked for a while, and the lists are being put together; ask again. `ready`.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = TopCustomersState)]
#[serde(rename_all = "snake_case")]
enum StateWord {
    Building,
    Ready,
}

/// The customers that use most in one period.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TopCustomersRanking)]
struct RankingBody<'a> {
    period: PeriodBody,
    /// How many customers have counted events in the period.
    customers: u64,
    /// Largest first, those that used as much in the order of their creation; of at most 100.
    items: Vec<LeaderBody<'a>>,
}

/// A customer on a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TopCustomer)]
struct LeaderBody<'a> {
    customer_id: &'a str,
    /// The aggregation over the period, a decimal text.
    value: String,
}

/// Adds the route.
pub(crate) fn routes(routes: Routes) -> Routes {
    routes.add::<Read>(routes!(list_top_customers))
}

/// List a meter's top customers
///
/// Who uses most in this UTC month and on this UTC day, 100 at most. The lists are kept up to date while
/// somebody asks, about once a second; the first answer after a pause says `building`. They are exact for the
/// position that they name, also when counters fall, and miss nobody.
#[utoipa::path(get, path = "/meters/{id}/top-customers", tag = "meters",
    params(("id" = String, Path), ("page_size" = Option<u32>, Query),
        ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = TopBody<'static>)))]
async fn list_top_customers(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    paging: Paging,
) -> Result<Response, Failure> {
    let id = MeterId::new(id);
    let found = edge.engine.top_customers(&id)?;
    Ok(reply::json(StatusCode::OK, &TopBody::new(&id, &found, paging)))
}

impl<'a> TopBody<'a> {
    fn new(id: &'a MeterId, found: &'a TopCustomers, paging: Paging) -> Self {
        let shown = |ranking: &'a Option<Ranking>| {
            ranking.as_ref().map(|ranking| RankingBody::new(ranking, paging))
        };
        Self {
            meter_id: id.as_str(),
            state: if found.month.is_some() { StateWord::Ready } else { StateWord::Building },
            month: shown(&found.month),
            day: shown(&found.day),
            as_of_lsn: found.as_of_lsn.0,
            backfilling: found.backfilling,
        }
    }
}

impl<'a> RankingBody<'a> {
    fn new(ranking: &'a Ranking, paging: Paging) -> Self {
        let items = ranking.items.iter().map(|item| LeaderBody {
            customer_id: item.customer_id.as_str(),
            value: item.value.to_string(),
        });
        Self {
            period: ranking.period.into(),
            customers: ranking.customers,
            items: paging.of(items),
        }
    }
}
