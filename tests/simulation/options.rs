//! What the daemons of a life are started with.

use std::time::Duration;

use quipu::billing::PastDueEnd;
use quipu::engine::backfill::Limits;
use quipu::engine::options::{Collection, Options, PastDue, UnknownCustomers};
use quipu::metering::Rules;

use crate::workload::Workload;

const DAY: Duration = Duration::from_hours(24);

/// Sizes so small that a few dozen events make many segments, generations and runs; and whether history
/// leaves after some days.
pub(crate) fn draw_options(workload: &Workload) -> (Options, bool) {
    let dice = &workload.dice;
    let max_age = Duration::from_hours(*dice.pick(&[1, 1, 50]));
    let forgets = dice.one_in(4);
    let (dedupe_window, history_keep) =
        if forgets { (2 * DAY, 3 * DAY) } else { (Duration::ZERO, 4_000 * DAY) };
    let options = Options {
        rules: Rules { max_age, max_ahead: Duration::from_mins(5) },
        grace: max_age + Duration::from_mins(10),
        segment_bytes: 16 << 10,
        generation_ids: *dice.pick(&[6, 16, 64]),
        runs_max: *dice.pick(&[1, 3, 6]),
        stretch_events: 8,
        reserve_bytes: 64 << 10,
        queue_length: 64,
        due_bytes: 2 << 10,
        dedupe_window,
        history_keep,
        webhook_keep: history_keep,
        unknown_customers: *dice.pick(&[
            UnknownCustomers::Create,
            UnknownCustomers::Create,
            UnknownCustomers::Reject,
        ]),
        collection: *dice.pick(&[Collection::Automatic, Collection::Manual]),
        past_due: dice.one_in(2).then(|| PastDue {
            grace: DAY * (1 + dice.few(4)),
            end: *dice.pick(&[PastDueEnd::Hold, PastDueEnd::Cancel]),
        }),
        reservations_max: *dice.pick(&[1, 1_000, 1_000]),
        backfill: Limits { entries_in_memory: 12, rows_at_once: 5, entries_of_record: 3 },
        ..Options::default()
    };
    (options, forgets)
}
