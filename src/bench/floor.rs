//! A floor in a process of its own: the daemon's accept loop, limits and body read under the
//! daemon's defaults, and nothing behind them.

use std::io::Write;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::bench::arguments::FloorName;
use crate::config::{Config, Sources};
use crate::daemon;
use crate::http::{Floor, serve_floor};

/// Serves a floor until the process is ended; says first where.
///
/// # Errors
/// When it cannot listen.
pub(crate) fn run(name: FloorName, out: &mut dyn Write) -> anyhow::Result<()> {
    let floor = match name {
        FloorName::Discard => Floor::Discard,
        FloorName::Parse => Floor::Parse,
    };
    let config = Config::load(&Sources::default())?;
    // As the daemon's own runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).context("listen")?;
    writeln!(out, "quipu floor serves http://{} alone", listener.local_addr()?)?;
    out.flush()?;
    runtime.block_on(serve_floor(listener, floor, &daemon::edge_options(&config, false)));
    Ok(())
}
