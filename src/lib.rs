#![doc = include_str!("ARCHITECTURE.md")]

// Some tests of the engine share files with those of `tests/`, which name the crate.
#[cfg(test)]
extern crate self as quipu;

pub mod bench;
pub mod billing;
pub mod cli;
pub mod config;
pub mod confirm;
pub mod daemon;
pub mod engine;
pub mod http;
pub mod metering;
pub mod model;
pub mod storage;
pub mod world;
