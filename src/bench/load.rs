//! The load generator: one thread, one `epoll`, connections that never block.
//!
//! It runs in a process of its own, so that its work is told apart from the server's, and does as
//! little as it can: requests are patched in place, answers are read with one call. With a rate,
//! requests fall due by the clock and their latency counts from then, however late they are sent.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context;
use rustix::event::{Timespec, epoll};

use crate::bench::answer::Answer;
use crate::bench::connection::{Connection, Step};
use crate::bench::event::WATCHED_CUSTOMERS;
use crate::bench::plan::{Acknowledged, Outcome, Plan, SLOT_MS, Sent, Work};
use crate::bench::source::{Request, Source};
use crate::bench::{process, statistics};
use crate::world::clock::{Clock, SystemClock};

/// How long answers may be outstanding after the end.
const DRAIN: Duration = Duration::from_secs(30);
/// The longest wait for a socket, so that the end is not missed.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// What falls due in so long waits for a free connection; more is not sent at all.
const BACKLOG: Duration = Duration::from_secs(1);
/// The status of a request that is not applied and may be sent again.
const REFUSED: u16 = 503;

/// Runs the plan on standard input and prints its outcome as one line of JSON.
///
/// # Errors
/// When the server cannot be reached, or does not answer in the end.
pub(crate) fn run(out: &mut dyn Write) -> anyhow::Result<()> {
    let plan = serde_json::from_reader(io::stdin().lock()).context("read the plan")?;
    let outcome = Generator::new(&plan)?.run()?;
    writeln!(out, "{}", serde_json::to_string(&outcome)?).context("write the outcome")
}

#[derive(Debug)]
struct Generator<'a> {
    plan: &'a Plan,
    source: Source,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    timetable: Timetable,
    record: Record,
    /// Every event with a smaller number was acknowledged.
    acknowledged: u64,
}

/// When requests fall due. Times count from the generator's start.
#[derive(Clone, Copy, Debug)]
struct Timetable {
    measured_from: Duration,
    end: Duration,
    requests_max: u64,
    rate: Option<u64>,
    /// Requests that fell due, sent or not.
    issued: u64,
    unsent: u64,
}

/// What has happened so far.
#[derive(Debug)]
struct Record {
    measured_from: Duration,
    end: Duration,
    outcome: Outcome,
    latencies_us: Vec<u64>,
    last_answer: Duration,
}

/// What a request came to.
#[derive(Debug)]
struct Verdict {
    status: u16,
    closes: bool,
    has_retry_hint: bool,
    acknowledged: Option<Acknowledged>,
}

impl<'a> Generator<'a> {
    fn new(plan: &'a Plan) -> anyhow::Result<Self> {
        let source = Source::new(plan);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(plan.connections);
        for index in 0..plan.connections {
            let connection = Connection::open(plan.server, source.request());
            let connection = connection.with_context(|| format!("connect to {}", plan.server))?;
            watch(&epoll, &connection, index)?;
            connections.push(connection);
        }
        let timetable = Timetable::new(plan);
        let acknowledged = source.next();
        Ok(Self {
            plan,
            source,
            epoll,
            idle: (0..connections.len()).rev().collect(),
            connections,
            record: Record::new(&timetable),
            timetable,
            acknowledged,
        })
    }

    fn run(mut self) -> anyhow::Result<Outcome> {
        let start = SystemClock.since_boot();
        let elapsed = || SystemClock.since_boot().saturating_sub(start);
        let mut events = Vec::with_capacity(self.connections.len().max(1));
        loop {
            let now = elapsed();
            self.dispatch(now);
            let is_over = self.timetable.is_over(now);
            if is_over && self.idle.len() == self.connections.len() {
                return Ok(self.record.finish(self.timetable.unsent, self.source.next()));
            }
            anyhow::ensure!(now < self.timetable.end + DRAIN, "the server does not answer");
            let wait = if self.idle.is_empty() { WAIT_MAX } else { self.timetable.wait(now) };
            self.wait(&mut events, wait)?;
            let now = elapsed();
            for event in &events {
                let index = usize::try_from(event.data.u64()).expect("an index of a connection");
                let closed = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP;
                let readable = epoll::EventFlags::IN | epoll::EventFlags::ERR | closed;
                let flags = event.flags;
                self.advance(index, flags.intersects(readable), now)?;
            }
        }
    }

    /// Sends what is due on the connections that are idle.
    fn dispatch(&mut self, now: Duration) {
        self.timetable.shed(now);
        while let Some(index) = self.idle.pop() {
            let Some(due) = self.timetable.take(now) else {
                self.idle.push(index);
                return;
            };
            self.acknowledged = self.acknowledged_now();
            let connection = self.connections.get_mut(index).expect("idle holds indexes");
            if !std::mem::take(&mut connection.is_refused) {
                self.source.fill(&mut connection.request, self.acknowledged);
            }
            connection.begin(due);
        }
    }

    /// Below this number every event has its answer. It matters only when events are sent again.
    fn acknowledged_now(&self) -> u64 {
        match &self.plan.work {
            Work::Ingest(ingest) if ingest.duplicate_permille > 0 => {
                let is_open = |other: &&Connection| other.began.is_some() || other.is_refused;
                let under_way = self.connections.iter().filter(is_open);
                let first = under_way.map(|connection| connection.request.first).min();
                first.unwrap_or(self.source.next())
            }
            Work::Ingest(_)
            | Work::ReadUsage { .. }
            | Work::CheckCredits { .. }
            | Work::Health
            | Work::Subscribe { .. } => 0,
        }
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, wait: Duration) -> io::Result<()> {
        events.clear();
        let timeout = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let buffer = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, buffer, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn advance(&mut self, index: usize, is_readable: bool, now: Duration) -> anyhow::Result<()> {
        let connection = self.connections.get_mut(index).expect("events name connections");
        let Some(began) = connection.began else {
            // The server closes a connection that is idle.
            return Ok(());
        };
        let closes = match connection.advance(is_readable, verdict) {
            Step::Waiting => return Ok(()),
            Step::Done(verdict) => {
                let latency = now.saturating_sub(began);
                self.record.answered(&verdict, &connection.request, now, latency);
                connection.is_refused = verdict.status == REFUSED;
                verdict.closes
            }
            Step::Broken => {
                self.record.outcome.failed += 1;
                true
            }
        };
        if closes {
            connection.reopen(self.plan.server).context("connect again")?;
            watch(&self.epoll, connection, index)?;
        }
        self.idle.push(index);
        Ok(())
    }
}

impl Timetable {
    fn new(plan: &Plan) -> Self {
        let measured_from = Duration::from_millis(plan.warm_up_ms);
        Self {
            measured_from,
            end: measured_from + Duration::from_millis(plan.measured_ms),
            requests_max: plan.requests_max.unwrap_or(u64::MAX),
            rate: plan.rate,
            issued: 0,
            unsent: 0,
        }
    }

    fn is_over(&self, now: Duration) -> bool {
        now >= self.end || self.issued >= self.requests_max
    }

    /// When the next request counts from, if it is due.
    fn take(&mut self, now: Duration) -> Option<Duration> {
        let due = self.due(now)?;
        self.issued += 1;
        Some(due)
    }

    fn due(&self, now: Duration) -> Option<Duration> {
        if self.is_over(now) {
            return None;
        }
        let due = self.rate.map_or(now, |rate| spaced(self.issued, rate));
        (due <= now).then_some(due)
    }

    /// Gives up what waits for longer than the backlog allows.
    fn shed(&mut self, now: Duration) {
        let Some(rate) = self.rate else { return };
        let oldest = now.saturating_sub(BACKLOG);
        while !self.is_over(now) && spaced(self.issued, rate) < oldest {
            self.issued += 1;
            self.unsent += 1;
        }
    }

    /// How long nothing falls due.
    fn wait(&self, now: Duration) -> Duration {
        match self.rate {
            Some(rate) if !self.is_over(now) => {
                spaced(self.issued, rate).saturating_sub(now).min(WAIT_MAX)
            }
            Some(_) | None => WAIT_MAX,
        }
    }
}

/// When the request with this number falls due.
fn spaced(number: u64, rate: u64) -> Duration {
    let rate = rate.max(1);
    let nanos = (number % rate).saturating_mul(1_000_000_000) / rate;
    Duration::from_secs(number / rate) + Duration::from_nanos(nanos)
}

impl Record {
    fn new(timetable: &Timetable) -> Self {
        let watched = usize::try_from(WATCHED_CUSTOMERS).expect("a few");
        let outcome = Outcome { sent: Sent::none(watched), ..Outcome::default() };
        Self {
            measured_from: timetable.measured_from,
            end: timetable.end,
            outcome,
            latencies_us: Vec::new(),
            last_answer: Duration::ZERO,
        }
    }

    fn answered(&mut self, verdict: &Verdict, request: &Request, now: Duration, took: Duration) {
        // From the start of the measured part to its end: requests that wait longer count, too.
        let since = self.last_answer.max(self.measured_from);
        let pause = now.min(self.end).saturating_sub(since);
        let pause_us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        self.outcome.pause_us = self.outcome.pause_us.max(pause_us);
        self.last_answer = now;
        let outcome = &mut self.outcome;
        if verdict.status == REFUSED {
            outcome.refused += 1;
            outcome.refused_without_hint += u64::from(!verdict.has_retry_hint);
            return;
        }
        let Some(acknowledged) = verdict.acknowledged else {
            outcome.failed += 1;
            return;
        };
        outcome.acknowledged.add(acknowledged);
        outcome.sent.add(&request.sent);
        if now < self.measured_from || now >= self.end {
            return;
        }
        let events = request.sent.new + request.sent.duplicates;
        outcome.requests += 1;
        outcome.events += events;
        self.latencies_us.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let slot = now.saturating_sub(self.measured_from).as_millis() / u128::from(SLOT_MS);
        let slot = usize::try_from(slot).unwrap_or(usize::MAX);
        if outcome.slots.len() <= slot {
            outcome.slots.resize(slot + 1, 0);
        }
        if let Some(count) = outcome.slots.get_mut(slot) {
            *count += events;
        }
    }

    fn finish(self, unsent: u64, next: u64) -> Outcome {
        let measured = self.last_answer.min(self.end).saturating_sub(self.measured_from);
        Outcome {
            measured_us: u64::try_from(measured.as_micros()).unwrap_or(u64::MAX),
            latency_us: statistics::latency(self.latencies_us),
            unsent,
            cpu_ms: process::own_cpu_ms(),
            next,
            ..self.outcome
        }
    }
}

fn verdict(request: &Request, answer: &Answer<'_>) -> Verdict {
    let acknowledged = if answer.status != 200 {
        None
    } else if request.sent.new + request.sent.duplicates == 0 {
        // A read, a question or a subscription: that there is an answer is all.
        Some(Acknowledged::default())
    } else {
        serde_json::from_slice(answer.body).ok()
    };
    Verdict {
        status: answer.status,
        closes: answer.closes,
        has_retry_hint: answer.has_retry_hint,
        acknowledged,
    }
}

fn watch(epoll: &OwnedFd, connection: &Connection, index: usize) -> io::Result<()> {
    let data = epoll::EventData::new_u64(u64::try_from(index).expect("a small number"));
    let flags = epoll::EventFlags::IN
        | epoll::EventFlags::OUT
        | epoll::EventFlags::RDHUP
        | epoll::EventFlags::ET;
    Ok(epoll::add(epoll, connection, data, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn timetable(rate: Option<u64>, requests_max: u64) -> Timetable {
        let (measured_from, end) = (SECOND, SECOND * 10);
        Timetable { measured_from, end, requests_max, rate, issued: 0, unsent: 0 }
    }

    #[test]
    fn a_rate_makes_requests_fall_due_whatever_became_of_earlier_ones() {
        let mut table = timetable(Some(4), u64::MAX);
        let now = SECOND / 2;
        let mut taken = Vec::new();
        while let Some(due) = table.take(now) {
            taken.push(due.as_millis());
        }
        assert_eq!(taken, [0, 250, 500]);
        assert_eq!(table.wait(SECOND / 2), WAIT_MAX);
        assert_eq!(table.wait(SECOND * 7 / 10 + WAIT_MAX / 2).as_millis(), 25);
    }

    #[test]
    fn what_waits_too_long_is_given_up_and_counted() {
        let mut table = timetable(Some(10), u64::MAX);
        table.shed(SECOND * 3);
        assert_eq!((table.issued, table.unsent), (20, 20));
        assert_eq!(table.take(SECOND * 3), Some(SECOND * 2));
    }

    #[test]
    fn without_a_rate_everything_is_due_until_the_end() {
        let mut table = timetable(None, 2);
        assert_eq!(table.take(SECOND), Some(SECOND));
        assert_eq!(table.take(SECOND), Some(SECOND));
        assert_eq!(table.take(SECOND), None);
        assert!(table.is_over(SECOND));
        assert_eq!(timetable(None, 2).take(SECOND * 10), None);
    }
}
