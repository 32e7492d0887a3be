//! The dashboard through its socket: who is let in, from where something may be changed, and what every
//! answer says to browsers. How it looks and what its script does is tested in `browser`.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
#[path = "../common/mod.rs"]
mod common;

mod access;
mod home;
mod live;
mod sales;
mod screens;
mod shop;
mod viewer;
