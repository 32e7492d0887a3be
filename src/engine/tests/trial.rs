//! A rig and its model side by side: what the engine answers must be what the model says.

use std::time::Duration;

use super::compare::{assert_event, assert_known, assert_same};
use super::model::{Model, Object};
use super::rig::{Crash, Place, Rig, Sent, Slot};
use super::story::{Story, meter_of};
use crate::engine::Ingested;
use crate::engine::backfill::Step;
use crate::engine::command::{Changed, Command, NewCustomer, Refused};
use crate::engine::machine::Fatal;
use crate::engine::options::Options;
use crate::model::{Aggregation, CustomerId, Timestamp};
use crate::world::Clock;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Stops,
    Crashes(Crash),
}

/// A request that was submitted and may not be answered yet.
#[derive(Debug)]
pub(super) enum Waiting {
    Events { sent: Vec<Sent>, received_at: Timestamp, slot: Slot<Ingested> },
    Change { command: Command, slot: Slot<Changed> },
}

/// A rig, its model and the story so far.
#[derive(Debug)]
pub(super) struct Trial {
    pub rig: Rig,
    pub model: Model,
    pub story: Story,
    /// Submitted, in order, and not yet known to have been applied.
    pub waiting: Vec<Waiting>,
}

impl Trial {
    pub(super) fn new(options: &Options, seed: u64) -> Self {
        Self::at(&Place::new(options.clone()), Model::new(options), seed)
    }

    /// Goes on at a place that holds what the model says.
    pub(super) fn at(place: &Place, mut model: Model, seed: u64) -> Self {
        model.options = place.options.clone();
        let rig = place.open();
        model.start(rig.engine.now());
        Self { rig, model, story: Story::new(seed), waiting: Vec::new() }
    }

    /// One meter of each aggregation for the events `call`.
    pub(super) fn with_meters(mut self) -> Self {
        let key = "tokens".to_owned();
        for aggregation in [
            Aggregation::Count,
            Aggregation::Sum { key: key.clone() },
            Aggregation::Max { key: key.clone() },
            Aggregation::Last { key },
        ] {
            self.propose(Command::CreateMeter(meter_of("call", aggregation)));
            self.settle().unwrap();
        }
        self
    }

    /// Most of the customers that events name.
    pub(super) fn with_customers(mut self) -> Self {
        for number in 0..5 {
            self.propose(Command::CreateCustomer(NewCustomer {
                id: Some(CustomerId::new(format!("cus-{number}"))),
                name: format!("customer {number}"),
                email: String::new(),
                phone_number: None,
                preferred_locale: None,
                metadata: Vec::new(),
            }));
            self.settle().unwrap();
        }
        self
    }

    fn now(&self) -> Timestamp {
        self.rig.place.clock.wall()
    }

    pub(super) fn advance(&self, duration: Duration) {
        self.rig.advance(duration);
    }

    pub(super) fn send(&mut self, sent: Vec<Sent>) {
        let slot = self.rig.send(&sent);
        self.waiting.push(Waiting::Events { sent, received_at: self.now(), slot });
    }

    /// Sends a random request.
    pub(super) fn send_any(&mut self) {
        let sent = self.story.request(&self.model, self.now());
        self.send(sent);
    }

    pub(super) fn propose(&mut self, command: Command) {
        let slot = self.rig.propose(command.clone(), None);
        self.waiting.push(Waiting::Change { command, slot });
    }

    /// Lets the engine answer, and compares its answers.
    pub(super) fn settle(&mut self) -> Result<(), Fatal> {
        let settled = self.rig.settle();
        self.take_answers();
        if settled.is_ok() {
            assert!(self.waiting.is_empty(), "everything that was submitted is answered");
        }
        settled
    }

    /// Does some steps of the backfill, each with a step of the checkpoint's job; nothing else is
    /// submitted meanwhile.
    pub(super) fn backfill(&mut self, steps: u64) -> Result<Step, Fatal> {
        assert!(self.waiting.is_empty(), "records of backfills are ordered by themselves");
        let mut last = Step::Idle;
        for _ in 0..steps {
            last = self.rig.machine.backfill.step(self.story.dice.below(60));
            self.settle()?;
            self.note_backfill();
            self.rig.machine.checkpointer.step()?;
        }
        Ok(last)
    }

    /// Lets every backfill come to its end.
    pub(super) fn finish_backfills(&mut self) {
        self.rig.finish_backfills();
        self.note_backfill();
    }

    fn note_backfill(&mut self) {
        // Nothing else was submitted meanwhile.
        let records = self.rig.engine.stats().last_lsn.0 - self.model.lsn;
        self.model.backfilled(records, self.now());
    }

    /// Moves the model on by what was answered: answers come in the order of submission.
    pub(super) fn take_answers(&mut self) {
        let now = self.now();
        let mut unanswered = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Events { sent, received_at, slot } => match slot.take() {
                    // The disk could not be read; the client is told to come back.
                    Some(Err(Refused::Busy)) => {}
                    Some(answer) => {
                        assert!(unanswered.is_empty() || answer.is_err(), "answers keep the order");
                        let expected = self.model.ingest(&sent, received_at, now);
                        assert_eq!(answer.map_err(rule), expected, "{sent:?}");
                    }
                    None => unanswered.push(Waiting::Events { sent, received_at, slot }),
                },
                Waiting::Change { command, slot } => match slot.take() {
                    Some(answer) => {
                        assert!(unanswered.is_empty() || answer.is_err(), "answers keep the order");
                        self.compare_change(&command, answer, now);
                    }
                    None => unanswered.push(Waiting::Change { command, slot }),
                },
            }
        }
        self.waiting = unanswered;
    }

    fn compare_change(
        &mut self,
        command: &Command,
        answer: Result<Changed, Refused>,
        now: Timestamp,
    ) {
        let object = answer.as_ref().ok().map(|changed| Object::of(changed.outcome.clone()));
        let generated = object.as_ref().map_or("", Object::id).to_owned();
        let expected = self.model.change(command, now, &generated);
        assert_eq!(object, expected, "{command:?}: {answer:?}");
        if let Ok(changed) = answer {
            assert_eq!((changed.lsn, changed.replayed), (self.model.last_lsn(), false));
        }
    }

    /// Ends the process, in order or by a crash, and starts another; `change` may alter the options
    /// meanwhile. Everything that was submitted is answered.
    pub(super) fn restarted(self, end: End, change: impl FnOnce(&mut Options)) -> Self {
        let Self { rig, mut model, story, waiting } = self;
        let mut place = match end {
            End::Crashes(crash) => rig.place.after(crash),
            End::Stops => rig.stop(),
        };
        change(&mut place.options);
        model.options = place.options.clone();
        let rig = place.open();
        model.start(rig.engine.now());
        Self { rig, model, story, waiting }
    }

    /// Whether the directory holds after `crash` what [`check`] demands.
    pub(super) fn check_after(&self, crash: Crash) {
        check(&self.rig.place.after(crash), &self.model, &self.waiting);
    }
}

/// Opens a copy of `place`, which must hold all that was answered, and of the requests that wait, in the
/// order of submission, a part that ends between two of them; each once, and nothing else.
pub(super) fn check(place: &Place, model: &Model, waiting: &[Waiting]) {
    let mut rig = place.fork().open();
    let mut model = model_at(model, waiting, &rig);
    assert_same(&rig, &model);
    for kept in model.events.iter().step_by(7) {
        assert_event(&rig, &model, &kept.sent.id);
    }
    for waiting in waiting {
        if let Waiting::Events { sent, .. } = waiting {
            for sent in sent {
                assert_event(&rig, &model, &sent.id);
            }
        }
    }
    assert_known(&mut rig, &model);
    rig.finish_backfills();
    let records = rig.backfill_records_above(model.lsn);
    model.backfilled(records, rig.engine.now());
    assert_same(&rig, &model);
    let answer = rig.ingest(&[Sent::new("after the crash", "cus-0")]).unwrap();
    assert_eq!((answer.new, answer.lsn.0), (1, model.lsn + 1));
}

/// The model with as many of the waiting requests as take it to where the rig stands.
fn model_at(model: &Model, waiting: &[Waiting], rig: &Rig) -> Model {
    let (lsn, now) = (rig.engine.stats().last_lsn.0, rig.engine.now());
    let mut model = model.clone();
    for waiting in waiting {
        if model.lsn == lsn {
            break;
        }
        // A refusal is as good as no request.
        match waiting {
            Waiting::Events { sent, received_at, .. } => {
                model.ingest(sent, *received_at, now).ok();
            }
            Waiting::Change { command, .. } => drop(model.change(command, now, "")),
        }
    }
    if waiting.is_empty() {
        model.backfilled(rig.backfill_records_above(model.lsn), now);
    }
    assert_eq!(model.lsn, lsn, "the log ends with an answer or between two requests");
    model
}

fn rule(refused: Refused) -> (usize, crate::metering::Rule) {
    let Refused::Event(refusal) = refused else { panic!("refused: {refused}") };
    (refusal.event_index, refusal.rejection.rule)
}
