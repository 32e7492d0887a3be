//! Webhooks as a client and a receiver see them.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
#[path = "../common/mod.rs"]
mod common;
mod place;
mod receiver;

mod alerts;
mod delivery;
mod endpoints;
mod kill;
mod log;
