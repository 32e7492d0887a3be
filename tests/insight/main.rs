//! What the daemon says of what it counts: why an event counts or does not, how a meter fares with recent
//! events, what was refused, what all customers use together.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
#[path = "../common/mod.rs"]
mod common;

mod diagnosis;
mod explanation;
mod outcomes;
mod refused;
mod series;
mod top_customers;
