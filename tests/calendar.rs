//! Boundaries of cycles against figures that Python's dateutil made: month ends, leap days, every unit and
//! many counts, from 2024 to 2032. `tests/calendar/figures.py` writes them.

#![cfg(test)]

use quipu::billing::boundary;
use quipu::model::Timestamp;
use quipu::model::price::{Interval, IntervalUnit};

const FIGURES: &str = include_str!("calendar/figures.csv");

fn unit(word: &str) -> IntervalUnit {
    match word {
        "Day" => IntervalUnit::Day,
        "Week" => IntervalUnit::Week,
        "Month" => IntervalUnit::Month,
        "Year" => IntervalUnit::Year,
        _ => panic!("no unit: {word}"),
    }
}

/// Compares a line of the figures; gives how many boundaries it has.
fn compare(line: &str) -> usize {
    let fields: Vec<&str> = line.split(',').collect();
    let [anchor, word, count, figures] = fields[..] else { panic!("{line}") };
    let (_, time) = anchor.split_once('T').unwrap();
    let interval = Interval { count: count.parse().unwrap(), unit: unit(word) };
    let start = Timestamp::parse(anchor).unwrap();
    assert_eq!(boundary(start, interval, 0), Some(start), "{line}");
    let figures = figures.split_whitespace().map(|figure| figure.split_once(':').unwrap());
    let compared = figures.map(|(k, date)| {
        let expected = Timestamp::parse(&format!("{date}T{time}")).unwrap();
        let found = boundary(start, interval, k.parse().unwrap());
        assert_eq!(found, Some(expected), "boundary {k} of {anchor}, {count} {word}");
        // The anchor's fraction of a second is every boundary's.
        let later = |at: Timestamp| Timestamp::from_nanos(at.as_nanos() + 123_456_789);
        let found = boundary(later(start), interval, k.parse().unwrap());
        assert_eq!(found, Some(later(expected)), "boundary {k} of {anchor}, {count} {word}");
    });
    compared.count()
}

#[test]
fn boundaries_are_those_of_dateutil() {
    let lines = FIGURES.lines().filter(|line| !line.starts_with('#'));
    let compared: usize = lines.map(compare).sum();
    assert!(compared > 17_000, "only {compared} boundaries were compared");
}
