//! Tables: written once, shown as HTML and exported as CSV.

use askama::Template;
use askama::filters::HtmlSafe;

use super::tags::{self, Moment};
use crate::model::Timestamp;

/// Rows of a table that is exported.
pub(super) const EXPORT_ROWS_MAX: usize = 10_000;

/// A table. A page prints it with `{{ table }}`.
#[derive(Debug, Template)]
#[template(path = "dashboard/table.html", config = ".config/askama.toml")]
pub(super) struct Table {
    /// What its file is called.
    pub(super) name: &'static str,
    /// What it shows, for those who do not see it.
    pub(super) caption: String,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// Where it is as CSV.
    pub(super) csv: Option<String>,
}

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    name: String,
    is_number: bool,
}

/// What stands in a row and a column.
#[derive(Clone, Debug, Template)]
#[template(path = "dashboard/cell.html", config = ".config/askama.toml")]
pub(super) enum Cell {
    /// Nothing, a dash.
    Nothing,
    Text(String),
    /// An id, a name that programs use.
    Code(String),
    /// A decimal number; its thousands are set apart on the page.
    Number(String),
    Moment(Moment),
    Link {
        text: String,
        href: String,
    },
    Badge(Tone, String),
    /// A part of a whole, in hundredths.
    Share(u8),
    /// A small chart of whole numbers, oldest first.
    Spark(Spark),
    /// A button that changes something; no part of what is exported.
    Action(Action),
    /// A cell with a smaller line below.
    Noted(Box<Cell>, String),
}

/// A form of one button.
#[derive(Clone, Debug)]
pub(super) struct Action {
    pub(super) label: &'static str,
    /// Method and path of the API; the body is empty.
    pub(super) api: String,
    /// Where the browser goes then.
    pub(super) then: String,
    /// What is asked before.
    pub(super) confirm: Option<String>,
}

/// How a badge looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Plain,
    Warning,
    Bad,
}

/// A line of bars, in the units of its own box: 2 wide each, 24 high.
#[derive(Clone, Debug)]
pub(super) struct Spark {
    /// Where each bar begins, and how high it is.
    bars: Vec<(usize, usize)>,
    /// What it shows, for those who do not see it.
    label: String,
}

const SPARK_HEIGHT: usize = 24;

// Every value in a table goes through the template's escaping.
impl HtmlSafe for Table {}
impl HtmlSafe for Cell {}

impl Table {
    /// A table without rows.
    pub(super) fn new(name: &'static str, caption: &str, columns: Vec<Column>) -> Self {
        Self { name, caption: caption.to_owned(), columns, rows: Vec::new(), csv: None }
    }

    /// With an address where it is as CSV: the same query and `format=csv`.
    pub(super) fn exported_at(mut self, href: impl Into<String>) -> Self {
        self.csv = Some(href.into());
        self
    }

    /// The table as RFC 4180 has it, with a first line of names.
    pub(super) fn csv(&self) -> String {
        let mut out = String::new();
        let names = self.columns.iter().map(|column| column.name.clone());
        line(&mut out, names);
        for row in &self.rows {
            line(&mut out, row.iter().map(Cell::plain));
        }
        out
    }

    /// The cells of a row, each with whether its column is one of numbers.
    fn cells<'t>(&'t self, row: &'t [Cell]) -> impl Iterator<Item = (&'t Cell, bool)> {
        row.iter().zip(&self.columns).map(|(cell, column)| (cell, column.is_number))
    }
}

/// A column of texts.
pub(super) fn text(name: &str) -> Column {
    Column { name: name.to_owned(), is_number: false }
}

/// A column of numbers.
pub(super) fn number(name: &str) -> Column {
    Column { name: name.to_owned(), is_number: true }
}

impl Cell {
    /// A text, or a dash when there is none.
    pub(super) fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() { Self::Nothing } else { Self::Text(text) }
    }

    pub(super) fn code(text: &(impl ToString + ?Sized)) -> Self {
        Self::Code(text.to_string())
    }

    pub(super) fn number(number: &(impl ToString + ?Sized)) -> Self {
        Self::Number(number.to_string())
    }

    pub(super) fn link(text: &(impl ToString + ?Sized), href: impl Into<String>) -> Self {
        Self::Link { text: text.to_string(), href: href.into() }
    }

    pub(super) fn moment(at: Timestamp) -> Self {
        Self::Moment(Moment(at))
    }

    pub(super) fn noted(self, note: impl Into<String>) -> Self {
        Self::Noted(Box::new(self), note.into())
    }

    /// Without what only eyes need.
    fn plain(&self) -> String {
        match self {
            Self::Nothing | Self::Action(_) => String::new(),
            Self::Text(text) | Self::Code(text) | Self::Number(text) | Self::Badge(_, text) => {
                text.clone()
            }
            Self::Link { text, .. } => text.clone(),
            Self::Moment(at) => at.0.to_string(),
            Self::Share(percent) => format!("{percent} %"),
            Self::Spark(spark) => spark.label.clone(),
            Self::Noted(cell, note) => format!("{} ({note})", cell.plain()),
        }
    }
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Plain => "plain",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

impl Spark {
    /// A spark of `values`, the largest as high as the box.
    pub(super) fn new(values: &[u128], label: String) -> Self {
        let largest = values.iter().copied().max().unwrap_or(0).max(1);
        let height = |value: u128| {
            // Rounded up, so that whatever is there is seen. It fits: at most the box's height.
            let part = scaled(value, largest);
            usize::try_from(part).unwrap_or(SPARK_HEIGHT)
        };
        let bars = values.iter().enumerate().map(|(place, value)| (place * 3, height(*value)));
        Self { bars: bars.collect(), label }
    }

    fn width(&self) -> usize {
        self.bars.len() * 3
    }
}

/// `value` of `largest` in the box's units; halved together first where the product would not fit.
fn scaled(value: u128, largest: u128) -> u128 {
    let shift = 128_u32.saturating_sub(largest.leading_zeros()).saturating_sub(100);
    let (value, largest) = (value >> shift, (largest >> shift).max(1));
    (value * SPARK_HEIGHT as u128).div_ceil(largest)
}

fn line(out: &mut String, cells: impl Iterator<Item = String>) {
    for (place, cell) in cells.enumerate() {
        if place > 0 {
            out.push(',');
        }
        field(out, &cell);
    }
    out.push_str("\r\n");
}

/// A field; one that a spreadsheet would take for a formula is made a text with a leading quote.
fn field(out: &mut String, text: &str) {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_decimal(text);
    let needs_quotes = text.contains(['"', ',', '\n', '\r']) || text.starts_with(' ');
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if needs_quotes {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(&text);
    }
}

/// A negative number is no formula.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole) && all_digits(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: Vec<Vec<Cell>>) -> Table {
        let mut table = Table::new("things", "Things", vec![text("Name"), number("Used")]);
        table.rows = rows;
        table
    }

    fn exported(cell: Cell) -> String {
        table(vec![vec![cell]]).csv().split_once("\r\n").unwrap().1.trim_end().to_owned()
    }

    #[test]
    fn a_table_is_a_line_of_names_and_its_rows() {
        let table = table(vec![
            vec![Cell::text("a"), Cell::number("12.5")],
            vec![Cell::link("b, c", "/x"), Cell::Nothing],
        ]);
        assert_eq!(table.csv(), "Name,Used\r\na,12.5\r\n\"b, c\",\r\n");
    }

    #[test]
    fn no_text_becomes_a_formula() {
        for text in
            ["=1+1", "+1", "-x", "@SUM(A1)", "\tx", "-1+1", "-", "-.5", "-1.", "=cmd|' /C calc'!A0"]
        {
            let found = exported(Cell::text(text));
            assert!(found.starts_with('\''), "{text:?}: {found:?}");
        }
        assert_eq!(exported(Cell::text("\r=1")), "\"'\r=1\"");
        for number in ["-1", "-12.5", "0"] {
            assert_eq!(exported(Cell::number(number)), number);
        }
    }

    #[test]
    fn quotes_and_lines_stay_inside_their_field() {
        assert_eq!(exported(Cell::text("a\"b")), "\"a\"\"b\"");
        assert_eq!(exported(Cell::text("a\nb")), "\"a\nb\"");
        assert_eq!(exported(Cell::code("x").noted("y,z")), "\"x (y,z)\"");
    }

    #[test]
    fn what_clients_wrote_is_text_and_nothing_else() {
        let evil = "<script>alert('x')</script>\"&";
        let cells = [
            Cell::text(evil),
            Cell::code(evil),
            Cell::number(evil),
            Cell::link(evil, format!("/x?{evil}")),
            Cell::Badge(Tone::Good, evil.to_owned()),
            Cell::Spark(Spark::new(&[1], evil.to_owned())),
            Cell::text("x").noted(evil),
        ];
        for cell in cells {
            let page = table(vec![vec![cell.clone()]]).render().unwrap();
            assert!(!page.contains("<script"), "{cell:?}: {page}");
            assert!(page.contains("&#60;/script&#62;&#34;&#38;"), "{cell:?}: {page}");
        }
    }

    #[test]
    fn the_largest_value_is_as_high_as_the_box_and_none_that_is_there_is_lost() {
        let heights = |values: &[u128]| {
            let spark = Spark::new(values, String::new());
            spark.bars.iter().map(|(_, height)| *height).collect::<Vec<_>>()
        };
        assert_eq!(heights(&[0, 1, 12, 24]), [0, 1, 12, 24]);
        assert_eq!(heights(&[0, 0]), [0, 0]);
        assert_eq!(heights(&[1, 1_000_000]), [1, 24]);
        assert_eq!(heights(&[u128::MAX, u128::MAX / 2]), [24, 12]);
        assert_eq!(heights(&[]), Vec::<usize>::new());
    }
}
