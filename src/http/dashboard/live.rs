//! What has happened, as it happens: server-sent events.
//!
//! An event says how far the log is and what was counted since the start; pages load anew what they show
//! when it has moved. One sample serves all viewers. A stream ends with its session and with the daemon.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::Frame;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::answer::Answer;
use super::{Dashboard, gate};
use crate::engine::Pulse;
use crate::http::edge::Edge;
use crate::http::reply::ApiError;

/// Between two looks: at most four updates a second.
const EVERY: Duration = Duration::from_millis(250);
/// How long a stream may be silent, so that whoever stands between does not close it.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Streams at a time.
const VIEWERS_MAX: usize = 200;

/// What all streams share.
#[derive(Debug)]
pub(super) struct Live {
    sample: Mutex<Option<Sample>>,
    places: Arc<Semaphore>,
}

/// What was sampled, and when.
#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    pulse: Pulse,
    /// As it is sent.
    text: Bytes,
}

/// What an event says.
#[derive(Debug, Serialize)]
struct Tick {
    lsn: u64,
    accepted: u64,
    duplicate: u64,
    conflicting: u64,
    refused: u64,
    /// New events a second, since the sample before; and the others.
    rate: u64,
    duplicate_rate: u64,
    conflicting_rate: u64,
    refused_rate: u64,
}

/// The body of an answer that goes on.
struct Stream(mpsc::Receiver<Bytes>);

impl Default for Live {
    fn default() -> Self {
        Self { sample: Mutex::default(), places: Arc::new(Semaphore::new(VIEWERS_MAX)) }
    }
}

/// The stream of a viewer.
pub(super) async fn stream(State(dashboard): State<Arc<Dashboard>>, request: Request) -> Answer {
    let place = Arc::clone(&dashboard.live.places).try_acquire_owned();
    let place = place.map_err(|_| ApiError::busy("too many pages are open"))?;
    // One event on its way: a viewer that does not read misses what lies between.
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(feed(dashboard, request.headers().clone(), send, place));
    let mut response = Response::new(Body::new(Stream(receive)));
    let events = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, events);
    Ok(response)
}

async fn feed(
    dashboard: Arc<Dashboard>,
    headers: hyper::HeaderMap,
    send: mpsc::Sender<Bytes>,
    _place: OwnedSemaphorePermit,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<Sample> = None;
    let mut heard_at = Instant::now();
    loop {
        tokio::select! {
            () = send.closed() => return,
            at = ticks.tick() => {
                if dashboard.edge.is_draining() || gate::viewer(&dashboard, &headers).is_none() {
                    return;
                }
                let sample = dashboard.live.sample(&dashboard.edge, at);
                let is_new = last.as_ref().is_none_or(|last| last.text != sample.text);
                let text = if is_new {
                    sample.text.clone()
                } else if at.saturating_duration_since(heard_at) >= SILENCE_MAX {
                    Bytes::from_static(b":\n\n")
                } else {
                    continue;
                };
                (last, heard_at) = (Some(sample), at);
                if send.send(text).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Live {
    /// The newest sample; a new one when the last is as old as an update may be.
    fn sample(&self, edge: &Edge, now: Instant) -> Sample {
        let mut kept = self.sample.lock();
        match &*kept {
            Some(sample) if now.saturating_duration_since(sample.at) < EVERY => sample.clone(),
            before => {
                let sample = Sample::new(edge.engine.pulse(), now, before.as_ref());
                *kept = Some(sample.clone());
                sample
            }
        }
    }
}

impl Sample {
    fn new(pulse: Pulse, at: Instant, before: Option<&Self>) -> Self {
        let rate_of = |count: fn(&Pulse) -> u64| {
            before.map_or(0, |before| {
                let new = count(&pulse).saturating_sub(count(&before.pulse));
                let millis = at.saturating_duration_since(before.at).as_millis().max(1);
                u64::try_from(u128::from(new) * 1_000 / millis).unwrap_or(u64::MAX)
            })
        };
        let tick = Tick {
            lsn: pulse.lsn.0,
            accepted: pulse.accepted,
            duplicate: pulse.duplicate,
            conflicting: pulse.conflicting,
            refused: pulse.refused,
            rate: rate_of(|pulse| pulse.accepted),
            duplicate_rate: rate_of(|pulse| pulse.duplicate),
            conflicting_rate: rate_of(|pulse| pulse.conflicting),
            refused_rate: rate_of(|pulse| pulse.refused),
        };
        let json = serde_json::to_string(&tick).expect("integers are JSON");
        Self { at, pulse, text: format!("data: {json}\n\n").into() }
    }
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        ctx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(ctx).map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Lsn;

    #[test]
    fn a_sample_says_how_fast_events_come() {
        let pulse = |accepted| Pulse { lsn: Lsn(accepted), accepted, ..Pulse::default() };
        let now = Instant::now();
        let first = Sample::new(pulse(1_000), now, None);
        let text = |sample: &Sample| String::from_utf8(sample.text.to_vec()).unwrap();
        assert_eq!(
            text(&first),
            "data: {\"lsn\":1000,\"accepted\":1000,\"duplicate\":0,\"conflicting\":0,\"refused\":0,\
             \"rate\":0,\"duplicate_rate\":0,\"conflicting_rate\":0,\"refused_rate\":0}\n\n"
        );
        let more = Pulse { duplicate: 3, refused: 1, ..pulse(1_050) };
        let second = Sample::new(more, now + Duration::from_millis(250), Some(&first));
        let rates = "\"rate\":200,\"duplicate_rate\":12,\"conflicting_rate\":0,\"refused_rate\":4}";
        assert!(text(&second).contains(rates), "{second:?}");
    }
}
