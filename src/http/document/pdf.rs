//! The PDF: A4 pages in a type that every reader has, so that nothing is embedded.
//!
//! The type is Courier at 10 points, each character 6 points wide: columns line up by counting. It has
//! the characters of Windows-1252; others are printed as `?`.

use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref, Str, TextStr};

use super::{Document, Row};

const TYPE: Name<'_> = Name(b"F1");
const BOLD: Name<'_> = Name(b"F2");
const TYPE_POINTS: i16 = 10;
const LINE_POINTS: i16 = 14;
const PAGE_WIDTH: i16 = 595;
const PAGE_HEIGHT: i16 = 842;
const MARGIN: i16 = 48;
const FIRST_LINE: i16 = PAGE_HEIGHT - MARGIN - LINE_POINTS;
/// Lines of a page; the last is the page's number.
const LINES: usize = 51;

/// Characters of a line, and where each of the table's columns ends.
const LINE_CHARS: usize = 83;
// 6 points a character and 14 a line, between margins of 48.
const _: () = assert!(LINE_CHARS * 6 <= 595 - 2 * 48 && LINES * 14 <= 842 - 2 * 48);
const WHAT_CHARS: usize = 36;
const QUANTITY_END: usize = 52;
const PRICE_END: usize = 67;

/// One line of text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Line {
    text: String,
    bold: bool,
}

/// The PDF of an invoice.
pub(crate) fn pdf(document: &Document) -> Vec<u8> {
    let lines = lines(document);
    let pages: Vec<&[Line]> = lines.chunks(LINES - 1).collect();
    let mut refs = (1..).map(Ref::new);
    let mut next = || refs.next().expect("there are more numbers than pages");
    let [catalog, tree, info, plain, bold] = std::array::from_fn(|_| next());
    let placed: Vec<(Ref, Ref, &[Line])> =
        pages.iter().map(|page| (next(), next(), *page)).collect();

    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(tree).lang(TextStr("en"));
    pdf.document_info(info).title(TextStr(&format!("Invoice {}", document.number)));
    // Fits: an invoice has at most a few hundred lines.
    let count = i32::try_from(placed.len()).unwrap_or(i32::MAX);
    pdf.pages(tree).kids(placed.iter().map(|(page, _, _)| *page)).count(count);
    for (font, name) in [(plain, b"Courier".as_slice()), (bold, b"Courier-Bold")] {
        let mut font = pdf.type1_font(font);
        font.base_font(Name(name)).encoding_predefined(Name(b"WinAnsiEncoding"));
    }
    for (number, (page, content, lines)) in (1..).zip(placed) {
        let mut page = pdf.page(page);
        let (width, height) = (f32::from(PAGE_WIDTH), f32::from(PAGE_HEIGHT));
        page.media_box(Rect::new(0.0, 0.0, width, height));
        page.parent(tree).contents(content);
        page.resources().fonts().pair(TYPE, plain).pair(BOLD, bold);
        page.finish();
        pdf.stream(content, &write_page(lines, number, count));
    }
    pdf.finish()
}

/// The operators that show a page's lines and its number.
fn write_page(lines: &[Line], number: i32, count: i32) -> Vec<u8> {
    let mut content = Content::new();
    content.begin_text();
    content.next_line(f32::from(MARGIN), f32::from(FIRST_LINE));
    for line in lines {
        let font = if line.bold { BOLD } else { TYPE };
        content.set_font(font, f32::from(TYPE_POINTS));
        content.show(Str(&windows_1252(&line.text)));
        content.next_line(0.0, f32::from(-LINE_POINTS));
    }
    let left = LINES - 1 - lines.len();
    for _ in 0..left {
        content.next_line(0.0, f32::from(-LINE_POINTS));
    }
    content.set_font(TYPE, f32::from(TYPE_POINTS));
    let text = right(&format!("Page {number} of {count}"), LINE_CHARS);
    content.show(Str(&windows_1252(&text)));
    content.end_text();
    content.finish().to_vec()
}

/// Everything that is printed, line by line.
fn lines(document: &Document) -> Vec<Line> {
    let plain = |text: String| Line { text, bold: false };
    let strong = |text: String| Line { text, bold: true };
    let mut lines = vec![strong(format!("INVOICE {}", document.number)), Line::default()];
    for (name, value) in &document.facts {
        for (nth, part) in wrapped(value, LINE_CHARS - 14).into_iter().enumerate() {
            let name = if nth == 0 { name } else { "" };
            lines.push(plain(format!("{name:<14}{part}")));
        }
    }
    lines.extend([Line::default(), strong("Billed to".to_owned())]);
    let bill_to = document.bill_to.iter().flat_map(|line| wrapped(line, LINE_CHARS));
    lines.extend(bill_to.map(plain));
    lines.extend([Line::default(), Line::default()]);
    lines.push(strong(columns("Description", "Quantity", "Unit price", "Amount")));
    lines.push(plain("-".repeat(LINE_CHARS)));
    lines.extend(document.rows.iter().flat_map(row));
    lines.push(plain("-".repeat(LINE_CHARS)));
    let room = LINE_CHARS - "Total".len();
    lines.push(strong(format!("Total{}", right(&document.total, room))));
    lines
}

/// A line of the table: as many lines of text as its description needs.
fn row(row: &Row) -> Vec<Line> {
    let mut lines = Vec::new();
    for (nth, part) in wrapped(&row.what, WHAT_CHARS).into_iter().enumerate() {
        let text = match nth {
            0 => columns(&part, &row.quantity, &row.unit_price, &row.amount),
            _ => part,
        };
        lines.push(Line { text, bold: false });
    }
    let how = row.how.iter().flat_map(|line| wrapped(line, LINE_CHARS - 2));
    lines.extend(how.map(|part| Line { text: format!("  {part}"), bold: false }));
    lines
}

fn columns(what: &str, quantity: &str, unit_price: &str, amount: &str) -> String {
    let mut line = what.to_owned();
    let ends = [(quantity, QUANTITY_END), (unit_price, PRICE_END), (amount, LINE_CHARS)];
    for (text, end) in ends {
        // A number that is too wide for its column moves what follows, and is never cut.
        let room = end.saturating_sub(line.chars().count()).max(text.chars().count() + 1);
        line.push_str(&right(text, room));
    }
    line
}

/// The text at the right of so many characters.
fn right(text: &str, chars: usize) -> String {
    format!("{text:>chars$}")
}

/// The text in pieces of at most so many characters, broken at spaces where there are any.
fn wrapped(text: &str, chars_max: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let used = line.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + rest.len() <= chars_max {
                line.extend(std::iter::repeat_n(' ', gap).chain(rest.drain(..)));
            } else if used > 0 {
                lines.push(std::mem::take(&mut line));
            } else {
                let cut = chars_max.min(rest.len());
                lines.push(rest.drain(..cut).collect());
            }
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// The text in the encoding that the fonts are told to have.
fn windows_1252(text: &str) -> Vec<u8> {
    text.chars()
        .map(|char| match char {
            ' '..='~' | '\u{a0}'..='\u{ff}' => u8::try_from(u32::from(char)).unwrap_or(b'?'),
            '€' => 0x80,
            '‚' => 0x82,
            '„' => 0x84,
            '…' => 0x85,
            'Š' => 0x8a,
            'Œ' => 0x8c,
            'Ž' => 0x8e,
            '‘' => 0x91,
            '’' => 0x92,
            '“' => 0x93,
            '”' => 0x94,
            '•' => 0x95,
            '–' => 0x96,
            '—' => 0x97,
            '™' => 0x99,
            'š' => 0x9a,
            'œ' => 0x9c,
            'ž' => 0x9e,
            'Ÿ' => 0x9f,
            _ => b'?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::document::tests::{purchase, sample};

    fn text_of(document: &Document) -> Vec<String> {
        lines(document).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn the_lines_say_what_the_document_says() {
        let found = text_of(&Document::new(&sample("Ada", 0)));
        let expected = [
            "INVOICE 12",
            "",
            "Invoice       12 (inv_1)",
            "Due           2026-11-22 10:00 UTC",
            "Issued        2026-11-22 11:10 UTC",
            "Period        2026-10-22 10:00 UTC to 2026-11-22 10:00 UTC",
            "Subscription  sub_1",
            "",
            "Billed to",
            "Ada",
            "a@b.example",
            "08000 Cusco",
            "PE",
            "Tax ID T-1",
            "",
            "",
            "Description                                 Quantity     Unit price          Amount",
            "-----------------------------------------------------------------------------------",
            "Plan                                               1          49.00           49.00",
            "  2026-11-22 10:00 UTC to 2026-12-22 10:00 UTC",
            "Tokens (tokens)                                 1500           0.02           30.00",
            "  used 2500, free 1000",
            "-----------------------------------------------------------------------------------",
            "Total                                                                     79.00 USD",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_purchase_takes_one_line() {
        let found = text_of(&Document::new(&purchase()));
        let expected = [
            "Description                                 Quantity     Unit price          Amount",
            "-----------------------------------------------------------------------------------",
            "Book x 3                                           3          10.00           30.00",
            "-----------------------------------------------------------------------------------",
            "Total                                                                     30.00 USD",
        ];
        assert_eq!(found[found.len() - 5..], expected);
        assert!(!found.iter().any(|line| line.contains("Period") || line.contains("Subscription")));
    }

    #[test]
    fn long_invoices_have_pages_and_odd_names_break_nothing() {
        let name = format!("{} \u{1f999} (\\) <script>", "n".repeat(300));
        let bytes = pdf(&Document::new(&sample(&name, 60)));
        assert!(bytes.starts_with(b"%PDF-"));
        let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        assert!(holds(b"/Count 3") && holds(b"Page 3 of 3") && holds(b"INVOICE 12"));
        assert!(holds(b"startxref"));
    }

    proptest! {
        #[test]
        fn wrapping_loses_no_character(text in "[a-z ]{0,60}", chars_max in 1..20_usize) {
            let lines = wrapped(&text, chars_max);
            prop_assert!(lines.iter().all(|line| line.chars().count() <= chars_max));
            let joined: String = lines.concat().split_whitespace().collect();
            prop_assert_eq!(joined, text.split_whitespace().collect::<String>());
        }
    }
}
