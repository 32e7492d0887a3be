//! Laws of the engine in a simulated world: against a naive model, under failures, after damage.
//!
//! [`rig`] drives an engine with one thread, [`model`] says what must come out of it, [`compare`]
//! compares the two, and [`dice`] draws what happens. [`oracle`] says what invoices must say; these two
//! are the simulation's. The other files state one group of laws each.

mod compare;
#[path = "../../../tests/simulation/dice.rs"]
mod dice;
mod goods;
mod model;
mod model_usage;
#[expect(dead_code, reason = "the simulation asks more of it")]
#[path = "../../../tests/simulation/oracle.rs"]
mod oracle;
mod rig;
mod story;
mod trial;

mod alert_levels;
mod alerts;
mod backfill;
mod billing;
mod billing_runs;
mod checkouts;
mod clock_advance;
mod clock_jump;
mod credit_holds;
mod credit_lists;
mod credit_lives;
mod credit_plans;
mod credit_runs;
mod credits;
mod cut;
mod damage;
mod due_checkpoints;
mod durability;
mod history;
mod interval;
mod kept_replies;
mod leaders;
mod listing;
mod past_due;
mod preparing;
mod refusals;
mod reservation_races;
mod reservation_runs;
mod reservations;
mod sequences;
mod settings;
mod threads;
mod transitions;
mod webhooks;
mod weight;
