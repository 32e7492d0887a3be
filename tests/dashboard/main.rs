//! The dashboard through its socket: who is let in, from where something may be changed, and what every
//! answer says to browsers. How it looks and what its script does is tested in `browser`.

#![cfg(test)]

#[expect(dead_code, reason = "every test uses a part of the helpers")]
#[path = "../common/mod.rs"]
mod common;

#[expect(dead_code, reason = "every test uses a part of the receiver")]
#[path = "../webhooks/receiver.rs"]
mod receiver;

mod access;
mod credits;
mod forms;
mod home;
mod live;
mod sales;
mod screens;
mod settings;
mod shop;
mod viewer;
mod webhooks;
