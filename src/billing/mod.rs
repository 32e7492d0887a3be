//! What is owed, and when: pure functions of values, with no clock, lock, disk or configuration.
//!
//! [`calendar`] says where boundaries lie, [`rating`] what usage costs, [`credits`] what it draws
//! instead, [`close`] what stands on a bill, [`proration`] what a change of plan costs, [`lifecycle`]
//! how a subscription goes from segment to segment and [`mod@due`] when. Whoever calls them decides at
//! which instant, and keeps what they return.

pub mod calendar;
pub mod close;
pub mod credits;
pub mod due;
mod exact;
pub mod example;
pub mod lifecycle;
pub mod proration;
pub mod rating;
#[cfg(test)]
mod tests;
pub mod tiers;

pub use calendar::boundary;
pub use close::{
    Bill, Closed, Consumption, Overflow, Prices, Reading, charge_bill, close_cycle, first_bill,
};
pub use due::{Due, Step, due, each_due};
pub use exact::units_within;
pub use lifecycle::change::{
    cancel_scheduled_change, change_plan, check_changeable, schedule_change, unused,
};
pub use lifecycle::dates::{extend, move_next_billing_date, renew};
pub use lifecycle::paid::{PastDueEnd, end_past_due, payment_failed, payment_succeeded};
pub use lifecycle::pause::{pause, resume};
pub use lifecycle::{
    Cut, Draft, Refusal, activate, cancel_at_next_billing_date, cancel_now, check_dates,
    cycle_ahead, first_renewal, subscribe, turn,
};
pub use proration::{Proration, prorate};
pub use rating::{Measure, Rated, fixed_amount, purchase_amount, rate};
pub use tiers::packages;
