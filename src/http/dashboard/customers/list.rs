//! The newest customers, or those whose id or address begins with a text.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use crate::engine::Engine;
use crate::http::dashboard::answer::{self, Answer, NotShown};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::snippet::Snippets;
use crate::http::dashboard::table::{Cell, EXPORT_ROWS_MAX, Table, text};
use crate::http::dashboard::{Dashboard, tags};
use crate::http::query::Parameters;
use crate::http::reply::ApiError;
use crate::model::{Customer, CustomerIndex, CustomerOrigin};

const PATH: &str = "/dashboard/customers";
/// Customers of a page.
const ROWS: usize = 50;

#[derive(Template)]
#[template(path = "dashboard/customers.html", config = ".config/askama.toml")]
struct CustomersPage {
    shell: Shell,
    search: String,
    table: Table,
    pager: Pager,
    empty: Option<Snippets>,
}

/// What is looked for.
#[derive(Clone, Debug)]
enum Wanted {
    /// The newest, or those before one.
    Newest(Option<CustomerIndex>),
    /// Those whose id begins so, behind one of them.
    Id { prefix: String, after: Option<String> },
    /// Those whose address begins so.
    Address(String),
}

/// The page.
pub(in super::super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let wanted = Wanted::read(&parameters)?;
    let wants_csv = answer::wants_csv(&parameters)?;
    let limit = if wants_csv { EXPORT_ROWS_MAX } else { ROWS };
    let mut found = find(&dashboard, wanted.clone(), limit + 1).await?;
    let goes_on = found.len() > limit;
    found.truncate(limit);
    let own = wanted.own();
    let columns = ["Customer", "Name", "E-mail", "Created", "Made by"].map(text).into();
    let mut table = Table::new("customers", "Customers", columns)
        .exported_at(tags::with(&own, "format", "csv"));
    table.rows = found.iter().map(|customer| row(customer)).collect();
    if wants_csv {
        return Ok(answer::csv(&table));
    }
    let next = found.last().filter(|_| goes_on).and_then(|last| wanted.next(last));
    let search = parameters.text("search")?.unwrap_or_default().to_owned();
    let is_empty = found.is_empty() && matches!(wanted, Wanted::Newest(None));
    answer::show(&CustomersPage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Customers, "Customers"),
        search,
        table,
        pager: Pager { first: wanted.is_behind().then_some(own), next },
        empty: is_empty.then(|| Snippets::create_customer(&viewer.base)),
    })
}

async fn find(
    dashboard: &Arc<Dashboard>,
    wanted: Wanted,
    limit: usize,
) -> Result<Vec<Arc<Customer>>, NotShown> {
    let engine = &dashboard.edge.engine;
    match wanted {
        Wanted::Newest(below) => {
            let warmed = Arc::clone(dashboard);
            // So that the first search does not wait; nobody waits for this.
            tokio::task::spawn_blocking(move || warmed.ids.catch_up(&warmed.edge.engine));
            Ok(engine.customers_before(below, limit))
        }
        Wanted::Address(prefix) => Ok(engine.customers_addressed(&prefix, limit)),
        Wanted::Id { prefix, after } => {
            let shared = Arc::clone(dashboard);
            let found = move |engine: &Engine| {
                let ids = shared.ids.find(engine, &prefix, after.as_deref(), limit);
                ids.iter().filter_map(|id| engine.customer(id).map(Arc::new)).collect()
            };
            Ok(dashboard.edge.read(found).await?)
        }
    }
}

fn row(customer: &Customer) -> Vec<Cell> {
    vec![
        Cell::link(&customer.id, super::path(&customer.id)),
        Cell::text(&*customer.name),
        Cell::text(&*customer.email),
        Cell::moment(customer.created_at),
        Cell::text(match customer.created_by {
            CustomerOrigin::Ingest => "an event",
            CustomerOrigin::Api => "the API",
        }),
    ]
}

impl Wanted {
    fn read(parameters: &Parameters) -> Result<Self, ApiError> {
        let search = parameters.text("search")?.map(str::trim).filter(|text| !text.is_empty());
        Ok(match search {
            None => {
                let below = parameters.whole("below")?;
                let index = |below| u32::try_from(below).unwrap_or(u32::MAX);
                Self::Newest(below.map(|below| CustomerIndex(index(below))))
            }
            Some(text) if text.contains('@') => Self::Address(text.to_owned()),
            Some(text) => {
                let after = parameters.text("after")?.map(str::to_owned);
                Self::Id { prefix: text.to_owned(), after }
            }
        })
    }

    /// The address of the whole list.
    fn own(&self) -> String {
        match self {
            Self::Newest(_) => PATH.to_owned(),
            Self::Id { prefix, .. } | Self::Address(prefix) => tags::with(PATH, "search", prefix),
        }
    }

    fn is_behind(&self) -> bool {
        match self {
            Self::Newest(below) => below.is_some(),
            Self::Id { after, .. } => after.is_some(),
            Self::Address(_) => false,
        }
    }

    /// Where the list goes on behind its last customer.
    fn next(&self, last: &Customer) -> Option<String> {
        match self {
            Self::Newest(_) => Some(tags::with(PATH, "below", &last.index.0.to_string())),
            Self::Id { .. } => Some(tags::with(&self.own(), "after", last.id.as_str())),
            // Whoever finds more than a page of addresses writes more of it.
            Self::Address(_) => None,
        }
    }
}
