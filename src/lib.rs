#![doc = include_str!("ARCHITECTURE.md")]

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
