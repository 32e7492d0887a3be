//! Which files have been kept long enough: a decision, and nothing that acts on it.

use std::time::Duration;

use crate::model::{Lsn, Timestamp};
use crate::storage::history::Summary;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long events are kept after their arrival; a file goes when all of it is older.
    pub keep: Duration,
    /// How many bytes all files together may take; `None`: any number.
    pub bytes_max: Option<u64>,
}

/// The names of the files that may go, oldest first: those too old and those too many, up to the
/// first that holds an LSN at or above `floor`, the lowest one that anything still needs. `files` are
/// in LSN order.
pub fn expired(
    files: &[Summary],
    retention: &Retention,
    now: Timestamp,
    floor: Lsn,
) -> Vec<String> {
    let oldest_kept = now.minus(retention.keep);
    let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let mut names = Vec::new();
    for file in files {
        let too_old = file.arrivals.1 < oldest_kept;
        let too_many = retention.bytes_max.is_some_and(|bytes_max| bytes > bytes_max);
        if file.last_lsn >= floor || !(too_old || too_many) {
            break;
        }
        bytes -= file.bytes;
        names.push(file.file.clone());
    }
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(number: u64, bytes: u64, newest: i64) -> Summary {
        Summary {
            file: number.to_string(),
            bytes,
            first_lsn: Lsn(number * 10),
            last_lsn: Lsn(number * 10 + 9),
            events: 10,
            records: 0,
            times: None,
            arrivals: (Timestamp::MIN, Timestamp::from_nanos(newest)),
        }
    }

    #[test]
    fn age_and_bytes_each_let_the_oldest_go_but_never_at_the_floor() {
        let files = [file(1, 5, 100), file(2, 5, 200), file(3, 5, 150), file(4, 5, 400)];
        let check = |keep_nanos, bytes_max, floor, count| {
            let retention = Retention { keep: Duration::from_nanos(keep_nanos), bytes_max };
            let names = expired(&files, &retention, Timestamp::from_nanos(450), Lsn(floor));
            assert_eq!(names, ["1", "2", "3", "4"][..count]);
        };
        check(1000, None, 100, 0);
        check(350, None, 100, 0);
        check(349, None, 100, 1);
        check(260, None, 100, 1);
        check(249, None, 100, 3);
        check(0, None, 100, 4);
        check(0, None, 49, 3);
        check(0, None, 19, 0);
        check(0, None, 20, 1);
        check(1000, Some(20), 100, 0);
        check(1000, Some(19), 100, 1);
        check(1000, Some(0), 30, 2);
        check(349, Some(10), 100, 2);
    }

    proptest! {
        #[test]
        fn what_goes_is_the_longest_prefix_below_the_floor_of_old_or_surplus_files(
            sizes in prop::collection::vec((0..9_u64, 0..50_i64), 0..8),
            keep in 0..50_u64,
            bytes_max in prop::option::of(0..40_u64),
            floor in 0..100_u64,
        ) {
            let files: Vec<_> =
                sizes.iter().zip(1..).map(|((bytes, newest), n)| file(n, *bytes, *newest)).collect();
            let retention = Retention { keep: Duration::from_nanos(keep), bytes_max };
            let now = Timestamp::from_nanos(50);
            let goes = |place: usize| {
                let file = &files[place];
                let rest: u64 = files[place..].iter().map(|file| file.bytes).sum();
                file.last_lsn < Lsn(floor)
                    && (now.since(file.arrivals.1) > retention.keep || bytes_max.is_some_and(|max| rest > max))
            };
            let expected = (0..files.len()).take_while(|place| goes(*place)).count();
            prop_assert_eq!(expired(&files, &retention, now, Lsn(floor)).len(), expected);
        }
    }
}
