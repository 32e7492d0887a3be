//! Carts and checkout sessions as a client and a person see them, under a test clock.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
#[path = "../common/mod.rs"]
mod common;

mod carts;
mod chosen;
mod demand;
mod page;
mod sessions;
mod shop;
