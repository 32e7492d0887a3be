//! Charts: a table of instants and numbers that the script draws from. Whoever cannot see the drawing
//! opens the table; there is no other source that could differ.

use askama::Template;
use askama::filters::HtmlSafe;

use super::table::{self, Cell, Table};
use crate::model::Timestamp;

/// A chart over time. A page prints it with `{{ chart }}`.
#[derive(Debug, Template)]
#[template(path = "dashboard/chart.html", config = ".config/askama.toml")]
pub(super) struct Chart {
    /// Names it on its page.
    id: &'static str,
    /// What it shows.
    label: String,
    shape: Shape,
    table: Table,
    /// Where its table is as a part of a page, to be loaded anew when something has happened.
    live: Option<String>,
}

/// What the script draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A bar for each instant.
    Bars,
    /// Bars that stand on each other.
    Stacked,
    /// Lines.
    Lines,
}

impl HtmlSafe for Chart {}

impl Chart {
    /// A chart of `points`: at each instant a number of each of `series`, or none.
    pub(super) fn new(
        id: &'static str,
        label: &str,
        series: &[String],
        points: Vec<(Timestamp, Vec<Option<String>>)>,
    ) -> Self {
        let names = series.iter().map(|name| table::number(name));
        let columns = std::iter::once(table::text("From")).chain(names).collect();
        let mut table = Table::new(id, label, columns);
        table.rows = points.into_iter().map(|(at, values)| row(at, values)).collect();
        Self { id, label: label.to_owned(), shape: Shape::Bars, table, live: None }
    }

    pub(super) fn shaped(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// With an address where its table is as CSV.
    pub(super) fn exported_at(mut self, href: impl Into<String>) -> Self {
        self.table.csv = Some(href.into());
        self
    }

    /// With an address where its table is, to be drawn anew when something has happened.
    pub(super) fn live_at(mut self, href: impl Into<String>) -> Self {
        self.live = Some(href.into());
        self
    }

    /// The table alone: what is drawn anew, and what is exported.
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    fn shape(&self) -> &'static str {
        match self.shape {
            Shape::Bars => "bars",
            Shape::Stacked => "stacked",
            Shape::Lines => "lines",
        }
    }
}

fn row(at: Timestamp, values: Vec<Option<String>>) -> Vec<Cell> {
    let numbers = values.into_iter().map(|value| value.map_or(Cell::Nothing, Cell::Number));
    std::iter::once(Cell::moment(at)).chain(numbers).collect()
}
