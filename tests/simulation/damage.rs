//! Panics of the row store's crate over a damaged file: they end the process, which is how the damage
//! is found. Any other panic is one.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

thread_local! {
    /// This thread reads a damaged directory.
    static READS_DAMAGE: Cell<bool> = const { Cell::new(false) };
    /// The source file of the last panic.
    static PANICKED_IN: RefCell<String> = const { RefCell::new(String::new()) };
}

static HOOK: Once = Once::new();

/// What `read` says of a damaged directory; an error when the row store ended the process.
pub(crate) fn reading_damage<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let file = info.location().map_or("", |location| location.file());
            PANICKED_IN.with(|place| place.replace(file.to_owned()));
            if !(READS_DAMAGE.get() && is_of_row_store(file)) {
                usual(info);
            }
        }));
    });
    READS_DAMAGE.set(true);
    let read = catch_unwind(AssertUnwindSafe(read));
    READS_DAMAGE.set(false);
    read.unwrap_or_else(|panic| {
        let file = PANICKED_IN.with(RefCell::take);
        if is_of_row_store(&file) { Err(format!("{file} panicked")) } else { resume_unwind(panic) }
    })
}

fn is_of_row_store(file: &str) -> bool {
    file.contains("/redb-")
}
