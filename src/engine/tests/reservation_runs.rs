//! Random lives of reservations, with kills and power cuts, beside a naive model.

use std::time::Duration;

use super::dice::Dice;
use super::reservations::{Desk, PLAIN, Plan};
use super::rig::{Crash, Sent, tiny};
use crate::engine::Refused;
use crate::engine::options::Options;
use crate::engine::reservations::Reservation;
use crate::engine::reservations::requests::ReservationStatus;
use crate::model::{Aggregation, ReservationId, Timestamp};
use crate::world::sim::{FaultKind, Repeat};

/// One reservation as the model has it.
struct Held {
    id: ReservationId,
    balance: u64,
    overage: u64,
    expires_at: Timestamp,
    status: ReservationStatus,
}

/// What should be there, in whole credits.
struct Model {
    balance: u64,
    overage: u64,
    uncovered: u64,
    limit: u64,
    held: Vec<Held>,
}

impl Model {
    fn open(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(|held| held.status == ReservationStatus::Open)
    }

    fn spendable(&self) -> u64 {
        self.balance - self.open().map(|held| held.balance).sum::<u64>()
    }

    fn headroom(&self) -> u64 {
        self.limit - self.overage - self.open().map(|held| held.overage).sum::<u64>()
    }

    fn draw(&mut self, amount: u64) {
        let covered = amount.min(self.spendable());
        let beyond = (amount - covered).min(self.headroom());
        self.balance -= covered;
        self.overage += beyond;
        self.uncovered += amount - covered - beyond;
    }

    fn time_out(&mut self, now: Timestamp) {
        for held in &mut self.held {
            if held.status == ReservationStatus::Open && held.expires_at <= now {
                held.status = ReservationStatus::TimedOut;
            }
        }
    }

    fn stand(&self) -> [String; 4] {
        [self.balance, self.spendable(), self.overage, self.uncovered].map(|all| all.to_string())
    }
}

struct Life {
    desk: Desk,
    model: Model,
    dice: Dice,
    /// Events that were admitted, with other content than they may be sent again with.
    known: Vec<Sent>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let plan = Plan { amount: "300", limit: Some("40"), ..PLAIN };
        let tokens = Aggregation::Sum { key: "tokens".to_owned() };
        let options = Options { reservations_max: 8, ..tiny() };
        let desk = Desk::with_options(options, tokens, &[plan]);
        let model = Model { balance: 300, overage: 0, uncovered: 0, limit: 40, held: Vec::new() };
        Self { desk, model, dice: Dice::new(seed), known: Vec::new() }
    }

    fn now(&self) -> Timestamp {
        self.desk.rig.engine.now()
    }

    fn reserve(&mut self) {
        let amount = self.dice.below(50);
        let (is_full, spendable) = (self.model.open().count() >= 8, self.model.spendable());
        let balance = amount.min(spendable);
        let overage = amount - balance;
        let answer = self.desk.reserve(&amount.to_string());
        if overage > self.model.headroom() && !is_full {
            assert_eq!(answer, Err(Refused::NotCovered));
        } else if is_full {
            assert_eq!(answer, Err(Refused::TooManyReservations));
        } else {
            let made = answer.unwrap();
            let text = |credits: crate::model::Credits| credits.to_string();
            let hold = [text(made.hold.balance), text(made.hold.overage)];
            assert_eq!(hold, [balance.to_string(), overage.to_string()]);
            let expires_at = self.now().plus(Duration::from_mins(10));
            let (id, status) = (made.id.clone(), ReservationStatus::Open);
            self.model.held.push(Held { id, balance, overage, expires_at, status });
        }
    }

    fn check_end(
        &self,
        place: usize,
        answer: &Result<std::sync::Arc<Reservation>, Refused>,
        wanted: ReservationStatus,
    ) -> bool {
        match (self.model.held[place].status, answer) {
            (ReservationStatus::Open, Ok(_)) => true,
            (status, Ok(_)) if status == wanted => false,
            (ReservationStatus::TimedOut, Err(Refused::Gone(_))) => false,
            (ReservationStatus::Committed | ReservationStatus::Released, Err(refused)) => {
                assert!(matches!(refused, Refused::Conflict(_)), "{refused}");
                false
            }
            (status, answer) => panic!("{status:?}: {answer:?}"),
        }
    }

    fn commit(&mut self) {
        if self.model.held.is_empty() {
            return;
        }
        let place = self.dice.index(self.model.held.len());
        let is_known = !self.known.is_empty() && self.dice.one_in(4);
        let amount = self.dice.below(60);
        let event = if is_known {
            self.dice.pick(&self.known).clone()
        } else {
            self.desk.event(&amount.to_string())
        };
        let id = self.model.held[place].id.clone();
        let answer = self.desk.commit(&id, &event);
        if self.check_end(place, &answer, ReservationStatus::Committed) {
            self.model.held[place].status = ReservationStatus::Committed;
            if !is_known {
                self.model.draw(amount);
                self.known.push(event);
            }
        }
    }

    fn release(&mut self) {
        if self.model.held.is_empty() {
            return;
        }
        let place = self.dice.index(self.model.held.len());
        let id = self.model.held[place].id.clone();
        let answer = self.desk.release(&id);
        if self.check_end(place, &answer, ReservationStatus::Released) {
            self.model.held[place].status = ReservationStatus::Released;
        }
    }

    fn step(mut self) -> Self {
        // What happens at an instant counts once that has passed.
        self.desk.rig.advance(Duration::from_micros(1));
        self.model.time_out(self.now());
        self.desk.rig.settle().unwrap();
        match self.dice.below(12) {
            0..4 => self.reserve(),
            4..7 => self.commit(),
            7 => self.release(),
            8 => {
                let amount = self.dice.below(20);
                let event = self.desk.event(&amount.to_string());
                self.desk.rig.ingest(std::slice::from_ref(&event)).unwrap();
                self.known.push(event);
                self.model.draw(amount);
            }
            9 => {
                let seconds = self.dice.below(400);
                self.desk.rig.advance(Duration::from_secs(seconds));
                self.model.time_out(self.now());
                self.desk.rig.settle().unwrap();
            }
            10 => self.desk.rig.machine.checkpoint().unwrap(),
            _ => {
                let crash = match self.dice.below(3) {
                    0 => Crash::Killed,
                    1 => Crash::DropsAll,
                    _ => Crash::Random(self.dice.below(1_000)),
                };
                self.desk = self.desk.killed(crash);
            }
        }
        self
    }

    fn check(&self) {
        assert_eq!(self.desk.stand(), self.model.stand());
        for held in &self.model.held {
            assert_eq!(self.desk.status(&held.id), Ok(held.status), "{}", held.id);
        }
    }
}

#[test]
fn random_lives_go_as_a_naive_model_says() {
    for seed in 0..24 {
        let mut life = Life::new(seed);
        for _ in 0..60 {
            life = life.step();
            life.check();
        }
        let ended = |status| life.model.held.iter().filter(|held| held.status == status).count();
        assert!(ended(ReservationStatus::Committed) > 0, "seed {seed}");
    }
}

/// Whatever was cut off: a commit gave back and counted, or did neither.
#[test]
fn a_power_cut_leaves_a_commit_whole_or_undone() {
    let (mut whole, mut undone) = (0, 0);
    for (operation, seed) in (0..4).flat_map(|operation| (0..8).map(move |seed| (operation, seed)))
    {
        let mut desk = Desk::plain();
        let held = desk.reserve("60").unwrap();
        let event = desk.event("70");
        let answer = desk.rig.commit(&held.id, &event);
        let faults = desk.rig.place.disk.clone();
        faults.fail_at(faults.operations() + 1 + operation, FaultKind::Io, Repeat::Once);
        if desk.rig.settle().is_ok() {
            assert!(answer.answer().is_ok());
        } else {
            assert!(answer.take().is_none());
        }
        faults.clear_faults();
        desk.rig = desk.rig.place.after(Crash::Random(seed)).open();
        match desk.status(&held.id).unwrap() {
            ReservationStatus::Open => {
                undone += 1;
                assert_eq!(desk.stand()[..2], ["100", "40"]);
                assert_eq!(desk.rig.ingest(&[event]).unwrap().new, 1);
            }
            ReservationStatus::Committed => {
                whole += 1;
                assert_eq!(desk.stand()[..2], ["30", "30"]);
                assert_eq!(desk.rig.ingest(&[event]).unwrap().duplicates, 1);
            }
            ReservationStatus::Released | ReservationStatus::TimedOut => panic!("nobody ended it"),
        }
    }
    assert!(whole > 0 && undone > 0, "{whole} whole, {undone} undone");
}
