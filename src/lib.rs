//! Quipu: a usage-metering daemon. Events in over HTTP, counted exactly once, live usage out.

pub mod cli;
pub mod config;
pub mod engine;
pub mod http;
pub mod metering;
pub mod model;
pub mod storage;
pub mod world;
