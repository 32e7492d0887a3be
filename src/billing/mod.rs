//! What is owed, and when: pure functions of values, with no clock, lock, disk or configuration.
//!
//! [`calendar`] says where boundaries lie, [`rating`] what usage costs, [`close`] what stands on a
//! bill, [`lifecycle`] how a subscription goes from segment to segment and [`mod@due`] when. Whoever
//! calls them decides at which instant, and keeps what they return.

pub mod calendar;
pub mod close;
pub mod due;
pub mod lifecycle;
pub mod rating;
#[cfg(test)]
mod tests;

pub use calendar::boundary;
pub use close::{Bill, Overflow, Prices, Reading, close_cycle, first_bill, usage_lines};
pub use due::{Due, Step, due};
pub use lifecycle::{
    Draft, Refusal, activate, cancel_at_next_billing_date, cancel_now, closed, extend,
    first_renewal, move_next_billing_date, payment_failed, payment_succeeded, subscribe, turn,
};
pub use rating::{chargeable, fixed_amount, usage_amount};
