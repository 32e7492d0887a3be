//! What one customer has of one kind of credit: its grants, and what reservations hold of them.

use std::sync::Arc;

use askama::Template;
use askama::filters::HtmlSafe;
use axum::extract::State;

use crate::engine::Page;
use crate::engine::bills::{BalanceView, BillsError, GrantStatus, GrantView};
use crate::engine::reservations::requests::ReservationView;
use crate::http::dashboard::answer::{self, Answer, NotShown};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::pager::Pager;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Action, Cell, EXPORT_ROWS_MAX, Table, Tone, number, text};
use crate::http::dashboard::{Dashboard, tags};
use crate::http::query::Parameters;
use crate::http::reply::{ApiError, Failure};
use crate::http::route::Segment;
use crate::model::credit::GrantSource;
use crate::model::{CreditEntitlement, Credits, CustomerId, EntitlementId};

/// Rows of a page.
const ROWS: usize = 50;
/// Reservations of a page: those that are open end soon.
const RESERVATIONS: usize = 200;

/// A page about a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    Ledger,
    Grants,
    Reservations,
}

const TABS: [(Tab, &str, &str); 3] = [
    (Tab::Ledger, "Ledger", "customer"),
    (Tab::Grants, "Grants", "grants"),
    (Tab::Reservations, "Reservations", "reservations"),
];

/// What stands above every page about a pool. A page prints it with `{{ head }}`.
#[derive(Template)]
#[template(path = "dashboard/credit_pool_head.html", config = ".config/askama.toml")]
pub(super) struct Head {
    pub(super) entitlement: Arc<CreditEntitlement>,
    pub(super) customer_id: CustomerId,
    tab: Tab,
    available: String,
    balance: String,
    held: String,
    overage: String,
    granted: String,
    used: String,
}

// Goes through the template's escaping.
impl HtmlSafe for Head {}

#[derive(Template)]
#[template(path = "dashboard/credit_rows.html", config = ".config/askama.toml")]
struct RowsPage {
    shell: Shell,
    head: Head,
    /// What a choice above the table offers: value, words, whether it is chosen.
    choices: Vec<(&'static str, &'static str, bool)>,
    /// What it says when there is nothing.
    nothing: &'static str,
    table: Table,
    pager: Pager,
}

impl Head {
    /// What the address names. A customer who never had any has nothing.
    pub(super) fn read(
        dashboard: &Dashboard,
        id: String,
        parameters: &Parameters,
        tab: Tab,
    ) -> Result<Self, NotShown> {
        let engine = &dashboard.edge.engine;
        let entitlement = engine.entitlement_or_deleted(&EntitlementId::new(id))?;
        let customer_id = CustomerId::new(parameters.text("id")?.unwrap_or_default());
        let view = match engine.balance(&entitlement.id, &customer_id) {
            Ok(view) => Some(view),
            Err(BillsError::NotFound("balance")) => None,
            Err(error) => return Err(error.into()),
        };
        let of = |amount: fn(&BalanceView) -> Credits| {
            tags::grouped(&view.as_ref().map_or(Credits::ZERO, amount).to_string())
        };
        Ok(Self {
            available: of(|view| view.kept.pool.spendable_at(view.at)),
            balance: of(BalanceView::balance),
            held: of(|view| view.kept.pool.held()),
            overage: of(|view| view.kept.pool.overage()),
            granted: of(|view| view.kept.pool.totals().granted),
            used: of(|view| view.kept.pool.totals().consumed),
            entitlement,
            customer_id,
            tab,
        })
    }

    pub(super) fn shell(&self, dashboard: &Dashboard, viewer: &Viewer) -> Shell {
        Shell::new(&dashboard.edge, viewer, Place::Credits, self.customer_id.as_str())
    }

    /// Where this page is.
    pub(super) fn path(&self) -> String {
        self.path_of(self.tab)
    }

    fn path_of(&self, tab: Tab) -> String {
        let page = TABS.iter().find(|(each, _, _)| *each == tab).map_or("customer", |one| one.2);
        super::path_of(&self.entitlement.id, page, &self.customer_id)
    }

    fn tabs(&self) -> impl Iterator<Item = (&'static str, String, bool)> {
        TABS.iter().map(|(tab, name, _)| (*name, self.path_of(*tab), *tab == self.tab))
    }
}

const STATUSES: [(GrantStatus, &str, Tone); 3] = [
    (GrantStatus::Active, "active", Tone::Good),
    (GrantStatus::Depleted, "depleted", Tone::Plain),
    (GrantStatus::Expired, "expired", Tone::Plain),
];

/// What was handed out to the customer.
pub(super) async fn grants(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let head = Head::read(&dashboard, id, &parameters, Tab::Grants)?;
    let status = parameters.parsed("status", "active, depleted or expired", |wanted| {
        STATUSES.iter().find(|(_, word, _)| *word == wanted).copied()
    })?;
    let offset = parameters.whole("from")?.unwrap_or(0);
    let wants_csv = answer::wants_csv(&parameters)?;
    let limit = if wants_csv { EXPORT_ROWS_MAX } else { ROWS + 1 };
    let (id, customer) = (head.entitlement.id.clone(), head.customer_id.clone());
    let wanted = status.map(|(status, _, _)| status);
    let read = dashboard
        .edge
        .read(move |engine| engine.grants(&id, &customer, wanted, Page { offset, limit }));
    let mut found = read.await??;
    let has_more = !wants_csv && found.len() > ROWS;
    if has_more {
        found.truncate(ROWS);
    }
    let columns = vec![
        text("Granted"),
        text("From"),
        number("Amount"),
        number("Left"),
        text("State"),
        text("Expires"),
        number("Times rolled over"),
        text("Id"),
    ];
    let mut table = Table::new("credit-grants", "Grants", columns);
    table.rows = found.iter().map(grant_row).collect();
    if wants_csv {
        return Ok(answer::csv(&table));
    }
    let own = match status {
        None => head.path(),
        Some((_, word, _)) => format!("{}&status={word}", head.path()),
    };
    let choice =
        |(each, word, _): &(GrantStatus, &'static str, Tone)| (*word, *word, wanted == Some(*each));
    answer::show(&RowsPage {
        shell: head.shell(&dashboard, &viewer),
        choices: STATUSES.iter().map(choice).collect(),
        nothing: "No grants.",
        table: table.exported_at(format!("{own}&format=csv")),
        pager: Pager {
            first: (offset > 0).then(|| own.clone()),
            next: has_more.then(|| format!("{own}&from={}", offset + ROWS)),
        },
        head,
    })
}

fn grant_row(view: &GrantView) -> Vec<Cell> {
    let grant = &view.grant;
    let subscription = view.subscription_id.as_ref().map(ToString::to_string).unwrap_or_default();
    let from = match &grant.source {
        GrantSource::Subscription(_) => Cell::text("subscription").noted(subscription),
        GrantSource::OneTime(payment) => Cell::text("purchase").noted(payment.to_string()),
        GrantSource::Api => Cell::text("by hand"),
        GrantSource::Rollover { parent, .. } => Cell::text("rolled over").noted(parent.to_string()),
    };
    let known = STATUSES.iter().find(|(status, _, _)| *status == view.status);
    let (word, tone) = known.map_or(("", Tone::Plain), |(_, word, tone)| (*word, *tone));
    let word = if grant.is_rolled_over { "rolled over" } else { word };
    vec![
        Cell::moment(grant.created_at),
        from,
        Cell::number(&grant.initial),
        Cell::number(&grant.remaining),
        Cell::Badge(tone, word.to_owned()),
        match grant.expires_at {
            Some(at) => Cell::moment(at),
            None if view.subscription_id.is_some() => Cell::text("with the next turn"),
            None => Cell::text("never"),
        },
        Cell::number(&grant.rollover_count),
        Cell::code(&grant.id),
    ]
}

/// What is held of the customer's credits for usage that is about to come.
pub(super) async fn reservations(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Segment(id): Segment,
    parameters: Parameters,
) -> Answer {
    let head = Head::read(&dashboard, id, &parameters, Tab::Reservations)?;
    let wants_csv = answer::wants_csv(&parameters)?;
    let limit = if wants_csv { EXPORT_ROWS_MAX } else { RESERVATIONS };
    let engine = &dashboard.edge.engine;
    let found = engine.open_reservations(&head.entitlement.id, &head.customer_id, limit);
    let found = found.map_err(|error| Failure::from(ApiError::from(error)))?;
    let releases = viewer.may_change() && !wants_csv;
    let mut columns = vec![
        text("Reservation"),
        number("Usage"),
        text("Meter"),
        number("Credits held"),
        number("Of that overage"),
        text("Subscription"),
        text("Made"),
        text("Ends"),
    ];
    if releases {
        columns.push(text("Action"));
    }
    let mut table = Table::new("credit-reservations", "Open reservations", columns);
    let then = head.path();
    let cells = |view: &ReservationView| reservation_row(view, releases.then_some(&*then));
    table.rows = found.iter().map(cells).collect();
    if wants_csv {
        return Ok(answer::csv(&table));
    }
    answer::show(&RowsPage {
        shell: head.shell(&dashboard, &viewer),
        choices: Vec::new(),
        nothing: "Nothing is held.",
        table: table.exported_at(format!("{then}&format=csv")),
        pager: Pager::default(),
        head,
    })
}

fn reservation_row(view: &ReservationView, then: Option<&str>) -> Vec<Cell> {
    let reservation = &view.reservation;
    let mut cells = vec![
        Cell::code(&reservation.id),
        Cell::number(&reservation.amount),
        Cell::code(&view.meter_id),
        Cell::number(&reservation.credits()),
        Cell::number(&reservation.hold.overage),
        Cell::code(&view.subscription_id),
        Cell::moment(reservation.created_at),
        Cell::moment(reservation.expires_at),
    ];
    cells.extend(then.map(|then| {
        Cell::Action(Action {
            label: "Release",
            api: format!("POST /credits/reservations/{}/release", reservation.id),
            then: then.to_owned(),
            confirm: Some("Give these credits back? The usage may still come.".to_owned()),
        })
    }));
    cells
}
