//! Laws of the engine in a simulated world: against a naive model, under failures, after damage.
//!
//! [`rig`] drives an engine with one thread, [`model`] says what must come out of it, [`compare`]
//! compares the two, and [`dice`] draws what happens. [`billing_oracle`] says what invoices must say.
//! The other files state one group of laws each.

mod compare;
mod dice;
mod model;
mod model_usage;
mod rig;
mod story;
mod trial;

mod backfill;
mod billing;
mod billing_oracle;
mod clock_jump;
mod cut;
mod damage;
mod durability;
mod history;
mod interval;
mod kept_replies;
mod listing;
mod preparing;
mod refusals;
mod sequences;
mod settings;
mod threads;
