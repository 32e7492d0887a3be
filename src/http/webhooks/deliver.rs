//! What carries messages: a task for each endpoint that is told anything, so that a receiver that is slow
//! or dead delays no other.
//!
//! A task asks its pump what is to be sent, sends it, and has what became of it logged. Whatever it forgets
//! when the process ends is sent again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::pace::Pace;
use super::payload;
use super::post::Poster;
use crate::engine::outbox::pump::{Found, Pump};
use crate::engine::outbox::settle::{Attempt, Next, SettledEntry};
use crate::http::edge::Edge;
use crate::http::reply::Failure;
use crate::model::{Causes, Endpoint, EndpointIndex, Timestamp};

/// Requests at a time to one endpoint.
const SENDING_MAX: usize = 16;
/// Once so many more have room, or some after this time, the next are looked for: each look reads the disk.
const LOOKED_FOR: usize = SENDING_MAX / 2;
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Attempts that are not logged, under way or over: a crash has at most so many made again.
const UNLOGGED_MAX: usize = 256;
/// What has become of attempts is logged together with what becomes of others within this time, at once
/// when it is that of so many.
const GATHER: Duration = Duration::from_millis(50);
const GATHERED: usize = SENDING_MAX;
/// How long to wait before the disk is read again, or the committer asked again, when that failed.
const AGAIN: Duration = Duration::from_secs(1);
/// No timer waits longer.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// How long requests under way may take once the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Sends messages until `stop` says so.
pub(in crate::http) async fn run(edge: Arc<Edge>, stop: watch::Receiver<bool>) {
    let (tell, mut told) = watch::channel(());
    edge.engine.wake_on_messages(move || tell.send_replace(()));
    // Whoever has no endpoint need not trust anybody.
    let mut poster: Option<Arc<Poster>> = None;
    let mut stopping = stop.clone();
    let mut tasks = JoinSet::new();
    let mut served = BTreeSet::new();
    while !*stopping.borrow() {
        for endpoint in edge.engine.webhook_endpoints(None, usize::MAX) {
            if endpoint.disabled.is_none() && served.insert(endpoint.index) {
                let allow_loopback = edge.options.webhooks_allow_loopback;
                let poster = poster.get_or_insert_with(|| Arc::new(Poster::new(allow_loopback)));
                let courier = Courier::new(Arc::clone(&edge), Arc::clone(poster), endpoint.index);
                let (told, stop, index) = (told.clone(), stop.clone(), endpoint.index);
                tasks.spawn(async move {
                    courier.run(told, stop).await;
                    index
                });
            }
        }
        tokio::select! {
            _ = told.changed() => {}
            Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => match ended {
                Ok((_, index)) => drop(served.remove(&index)),
                // Which one it was is not known: all are looked at anew once they have ended.
                Err(error) => {
                    tracing::error!(%error, "a task that sends webhooks has failed");
                    tasks.shutdown().await;
                    served.clear();
                    sleep(AGAIN).await;
                }
            },
            _ = stopping.changed() => {}
        }
    }
    let ends = async { while tasks.join_next().await.is_some() {} };
    if timeout(STOP_GRACE + GATHER, ends).await.is_err() {
        tasks.shutdown().await;
    }
}

/// Sends to one endpoint.
struct Courier {
    edge: Arc<Edge>,
    poster: Arc<Poster>,
    index: EndpointIndex,
    sending: JoinSet<Attempt>,
    /// The next are looked for once there is room.
    waits_for_room: bool,
    pace: Pace,
}

/// What is being logged.
struct Logging {
    entry: SettledEntry,
    answer: oneshot::Receiver<Result<(), crate::engine::Refused>>,
}

impl Courier {
    fn new(edge: Arc<Edge>, poster: Arc<Poster>, index: EndpointIndex) -> Self {
        let (sending, pace) = (JoinSet::new(), Pace::default());
        Self { edge, poster, index, sending, waits_for_room: false, pace }
    }

    /// Sends until the endpoint is disabled or gone, or the daemon stops; what became of it is logged.
    async fn run(mut self, mut told: watch::Receiver<()>, mut stop: watch::Receiver<bool>) {
        let Some(kept) = self.edge.engine.kept_endpoint(self.index) else { return };
        let mut pump = Pump::new(&kept);
        let mut logging: Option<Logging> = None;
        let mut stop_at: Option<Instant> = None;
        // When to look again, when what is over is to be logged.
        let (mut look_at, mut log_at) = (Some(Instant::now()), None);
        loop {
            let endpoint = self.endpoint().filter(|_| stop_at.is_none());
            let now = Instant::now();
            if let Some(endpoint) = &endpoint
                && look_at.is_some_and(|at| at <= now)
            {
                let Some(looked) = self.look(pump, endpoint, now).await else { return };
                (pump, look_at) = looked;
            }
            if logging.is_none() && log_at.is_some_and(|at| at <= now) {
                log_at = None;
                logging = pump.take_news(&self.edge.engine).map(|entry| self.log(entry));
            }
            if logging.is_none() && log_at.is_none() && pump.has_news() {
                let is_enough = stop_at.is_some() || pump.over() >= GATHERED;
                log_at = Some(if is_enough { now } else { now + GATHER });
                continue;
            }
            let is_over = self.sending.is_empty() && logging.is_none() && !pump.has_news();
            if (endpoint.is_none() && is_over) || stop_at.is_some_and(|at| at <= now) {
                return;
            }
            let looks = look_at.filter(|_| endpoint.is_some());
            let timer = [looks, log_at.filter(|_| logging.is_none()), stop_at];
            let timer = timer.into_iter().flatten().min().unwrap_or(now + LONGEST_WAIT);
            tokio::select! {
                Some(ended) = self.sending.join_next() => match ended {
                    Ok(attempt) => {
                        self.ended(&mut pump, attempt);
                        if pump.over() >= GATHERED {
                            log_at = log_at.map(|at| at.min(now));
                        }
                        if self.waits_for_room {
                            let has_much = self.room(&pump) >= LOOKED_FOR;
                            let at = if has_much { now } else { now + LOOK_AGAIN };
                            look_at = Some(look_at.map_or(at, |known| known.min(at)));
                        }
                    }
                    Err(error) => return failed(&error),
                },
                answer = answered(&mut logging) => match answer {
                    // The log has failed, and the process ends.
                    None => return,
                    Some((entry, Ok(()))) => {
                        pump.logged(&entry);
                        look_at = Some(Instant::now());
                    }
                    Some((entry, Err(_busy))) => {
                        sleep(AGAIN).await;
                        logging = Some(self.log(entry));
                    }
                },
                changed = told.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    look_at = Some(Instant::now());
                }
                () = sleep_until(timer) => {}
                _ = stop.changed(), if stop_at.is_none() => {
                    stop_at = Some(Instant::now() + STOP_GRACE);
                }
            }
        }
    }

    /// The endpoint, when anything is sent to it.
    fn endpoint(&self) -> Option<Arc<Endpoint>> {
        let kept = self.edge.engine.kept_endpoint(self.index);
        kept.map(|kept| kept.endpoint).filter(|endpoint| endpoint.disabled.is_none())
    }

    /// Begins to send what is to be sent, as far as there is room; when to look again. Nothing when the
    /// daemon stops.
    async fn look(
        &mut self,
        mut pump: Pump,
        endpoint: &Arc<Endpoint>,
        now: Instant,
    ) -> Option<(Pump, Option<Instant>)> {
        let real = self.edge.engine.real_now();
        let (allowed, more_at) = self.pace.allowed(endpoint.rate_limit, now);
        let room = self.room(&pump).min(allowed);
        self.waits_for_room = room == 0 && allowed > 0;
        if room == 0 {
            return Some((pump, more_at.filter(|_| allowed == 0)));
        }
        let found = self.edge.read(move |engine| {
            let found = pump.next(engine, real, room);
            (pump, found)
        });
        let (pump, found) = match found.await {
            Ok(found) => found,
            Err(Failure::Refused(_) | Failure::NoAnswer) => return None,
        };
        match found {
            Ok(found) => Some((pump, self.send(endpoint, found, real, now))),
            Err(error) => {
                tracing::error!(error = %Causes(&error), "read what webhooks are to be sent");
                Some((pump, Some(now + AGAIN)))
            }
        }
    }

    /// Begins to send what was found; when to look again.
    fn send(
        &mut self,
        endpoint: &Arc<Endpoint>,
        found: Found,
        real: Timestamp,
        now: Instant,
    ) -> Option<Instant> {
        for delivery in found.deliveries {
            self.pace.begins(now);
            let (edge, poster) = (Arc::clone(&self.edge), Arc::clone(&self.poster));
            let endpoint = Arc::clone(endpoint);
            self.sending.spawn(async move {
                let body = payload::body(&delivery.notice, &edge);
                poster.attempt(&endpoint, &delivery, body, || edge.engine.real_now()).await
            });
        }
        if found.has_more {
            return Some(now);
        }
        let wait = found.next_retry.map(|due| due.since(real).min(LONGEST_WAIT));
        wait.map(|wait| now + wait)
    }

    fn ended(&mut self, pump: &mut Pump, attempt: Attempt) {
        self.pace.ended(attempt.next == Next::Delivered);
        pump.ended(attempt);
    }

    /// How many requests may begin beside those that are under way.
    fn room(&self, pump: &Pump) -> usize {
        let sending = SENDING_MAX.saturating_sub(self.sending.len());
        sending.min(UNLOGGED_MAX.saturating_sub(pump.under_way()))
    }

    fn log(&self, entry: SettledEntry) -> Logging {
        let (say, answer) = oneshot::channel();
        self.edge.engine.settle_webhooks(entry.clone(), move |result| drop(say.send(result)));
        Logging { entry, answer }
    }
}

/// What became of what is being logged; nothing when the log has failed. Waits for ever when nothing is.
async fn answered(
    logging: &mut Option<Logging>,
) -> Option<(SettledEntry, Result<(), crate::engine::Refused>)> {
    let Some(waiting) = logging.as_mut() else { return std::future::pending().await };
    let result = (&mut waiting.answer).await;
    let entry = logging.take()?.entry;
    result.ok().map(|result| (entry, result))
}

/// A request has panicked: what is under way is sent again by the next task.
fn failed(error: &JoinError) {
    tracing::error!(%error, "send a webhook");
}
