//! One kind of credit, and what customers have of it.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::words;
use crate::engine::bills::{BalanceView, BillsError};
use crate::engine::{Engine, Page};
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, Column, EXPORT_ROWS_MAX, Table, number, text};
use crate::http::dashboard::tags::Moment;
use crate::http::dashboard::{Dashboard, tags};
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::http::route::Segment;
use crate::model::{CreditEntitlement, CustomerId, EntitlementId};

/// Rows of a page.
const ROWS: usize = 50;
/// Customers that a page of a search looks at.
const SEARCHED: usize = 1_000;

#[derive(Template)]
#[template(path = "dashboard/credit.html", config = ".config/askama.toml")]
struct EntitlementPage {
    shell: Shell,
    entitlement: Arc<CreditEntitlement>,
    path: String,
    created: Moment,
    changed: Moment,
    expiry: String,
    rollover: String,
    overage: String,
    /// Whose id begins so.
    search: String,
    table: Table,
    pager: Pager,
}

/// What is looked for.
#[derive(Clone, Debug)]
enum Wanted {
    /// Who came last to have any, or those below a place.
    Newest(Option<usize>),
    /// Customers whose id begins so, behind one of them.
    Id { prefix: String, after: Option<String> },
}

/// A part of what is looked for, and where the next part begins.
struct Found {
    views: Vec<BalanceView>,
    next: Option<Wanted>,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let edge = &dashboard.edge;
    let entitlement = edge.engine.entitlement_or_deleted(&EntitlementId::new(id))?;
    let path = super::path(&entitlement.id);
    let wanted = Wanted::read(&parameters)?;
    let wants_csv = answer::wants_csv(&parameters)?;
    let limit = if wants_csv { EXPORT_ROWS_MAX } else { ROWS };
    let (shared, id, asked) = (Arc::clone(&dashboard), entitlement.id.clone(), wanted.clone());
    let read = edge.read(move |engine| asked.find(&shared, engine, &id, limit));
    let Found { views, next } = read.await??;
    let mut table = Table::new("credit-balances", "What customers have", columns());
    table.rows = views.iter().map(row).collect();
    if wants_csv {
        return Ok(answer::csv(&table));
    }
    let own = wanted.first().address(&path);
    answer::show(&EntitlementPage {
        shell: Shell::new(edge, &viewer, Place::Credits, &entitlement.name),
        created: Moment(entitlement.created_at),
        changed: Moment(entitlement.updated_at),
        expiry: words::expiry(&entitlement.terms),
        rollover: words::rollover(&entitlement.terms.rollover),
        overage: words::overage(&entitlement.terms.overage),
        search: parameters.text("search")?.unwrap_or_default().to_owned(),
        table: table.exported_at(tags::with(&own, "format", "csv")),
        pager: Pager {
            first: wanted.is_behind().then_some(own),
            next: next.map(|next| next.address(&path)),
        },
        path,
        entitlement,
    })
}

impl Wanted {
    fn read(parameters: &Parameters) -> Result<Self, ApiError> {
        let search = parameters.text("search")?.map(str::trim).filter(|text| !text.is_empty());
        Ok(match search {
            None => Self::Newest(parameters.whole("below")?),
            Some(text) => {
                let after = parameters.text("after")?.map(str::to_owned);
                Self::Id { prefix: text.to_owned(), after }
            }
        })
    }

    /// Looks for at most so many.
    fn find(
        self,
        dashboard: &Dashboard,
        engine: &Engine,
        id: &EntitlementId,
        limit: usize,
    ) -> Result<Found, BillsError> {
        match self {
            Self::Newest(below) => {
                let found = engine.balances_below(id, below, limit)?;
                let last = found.last().map(|(place, _)| *place);
                let next = last.filter(|place| *place > 0 && found.len() == limit);
                let views = found.into_iter().map(|(_, view)| view).collect();
                Ok(Found { views, next: next.map(|place| Self::Newest(Some(place))) })
            }
            Self::Id { prefix, after } => {
                let searched = SEARCHED.max(limit);
                // One more tells whether there is anybody behind them. Not all of them have any.
                let mut ids = dashboard.ids.find(engine, &prefix, after.as_deref(), searched + 1);
                let goes_on = ids.len() > searched;
                ids.truncate(searched);
                let mut views = Vec::new();
                let mut last = None;
                for customer in &ids {
                    if views.len() == limit {
                        break;
                    }
                    let page = Page { offset: 0, limit: 1 };
                    views.extend(engine.balances(id, Some(customer), page)?);
                    last = Some(customer.to_string());
                }
                let is_short = last.as_deref() != ids.last().map(CustomerId::as_str);
                let next = last.filter(|_| goes_on || is_short);
                let next = next.map(|last| Self::Id { prefix, after: Some(last) });
                Ok(Found { views, next })
            }
        }
    }

    /// The whole list.
    fn first(&self) -> Self {
        match self {
            Self::Newest(_) => Self::Newest(None),
            Self::Id { prefix, .. } => Self::Id { prefix: prefix.clone(), after: None },
        }
    }

    fn is_behind(&self) -> bool {
        match self {
            Self::Newest(below) => below.is_some(),
            Self::Id { after, .. } => after.is_some(),
        }
    }

    fn address(&self, path: &str) -> String {
        match self {
            Self::Newest(None) => path.to_owned(),
            Self::Newest(Some(below)) => tags::with(path, "below", &below.to_string()),
            Self::Id { prefix, after } => {
                let found = tags::with(path, "search", prefix);
                after
                    .as_ref()
                    .map_or_else(|| found.clone(), |last| tags::with(&found, "after", last))
            }
        }
    }
}

fn columns() -> Vec<Column> {
    vec![
        text("Customer"),
        number("Available"),
        number("Held"),
        number("Balance"),
        number("Overage"),
        text("Last change of the ledger"),
        text("First came"),
    ]
}

fn row(view: &BalanceView) -> Vec<Cell> {
    let pool = &view.kept.pool;
    let path = super::path_of(&view.entitlement.id, "customer", &view.customer_id);
    vec![
        Cell::link(&view.customer_id, path),
        Cell::number(&pool.spendable_at(view.at)),
        Cell::number(&pool.held()),
        Cell::number(&view.balance()),
        Cell::number(&pool.overage()),
        view.kept.last_row_at.map_or(Cell::Nothing, Cell::moment),
        Cell::moment(view.kept.created_at),
    ]
}
