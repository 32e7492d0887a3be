//! The bodies of the fuzz targets: each takes any bytes and holds what Quipu makes of them against a
//! law, most often a second, naive reading of the same bytes.
//!
//! The crate around this folder feeds them from libFuzzer; `tests/corpus.rs` feeds them the committed
//! corpora, with a stable compiler. A broken law is a panic, as is one of Quipu's own. That nothing
//! hostile makes a decoder allocate much is libFuzzer's to see: `run.sh` gives it the limits.

pub mod big;
pub mod checkpoint;
pub mod event_json;
pub mod filters;
pub mod frame;
pub mod history_block;
pub mod input;
pub mod json;
pub mod numbers;
pub mod query_strings;
pub mod record;
pub mod run_block;
pub mod timestamps;

/// A target: its name, which is also that of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: [Target; 10] = [
    ("checkpoint", checkpoint::check),
    ("event_json", event_json::check),
    ("filters", filters::check),
    ("frame", frame::check),
    ("history_block", history_block::check),
    ("numbers", numbers::check),
    ("query_strings", query_strings::check),
    ("record", record::check),
    ("run_block", run_block::check),
    ("timestamps", timestamps::check),
];
