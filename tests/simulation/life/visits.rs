//! What happens beside requests: somebody asks for credits before serving, messages are delivered, and alerts
//! look at whose counters have moved.

use std::time::Duration;

use quipu::engine::alerts::watch::Step;
use quipu::engine::command::RequestIdentity;
use quipu::engine::machine::Fatal;
use quipu::engine::outbox::pump::Pump;
use quipu::model::EndpointIndex;

use super::Life;
use crate::answers::Waiting;
use crate::desk::Committing;
use crate::place::Process;
use crate::told::attempt_of;

impl Life {
    /// Somebody reserves credits, or says what became of a reservation.
    pub(super) fn visit_desk(&mut self, process: &Process) {
        if self.model.follow_credits(process).is_err() {
            return;
        }
        match self.workload.dice.below(8) {
            0..3 => {
                let command = self.workload.reserve(&self.model);
                self.propose(process, command);
            }
            3..7 => {
                let Some((id, sent)) = self.workload.commit(&self.model) else { return };
                self.identities += 1;
                let mut content = [1; 32];
                content[..8].copy_from_slice(&self.identities.to_le_bytes());
                let identity =
                    RequestIdentity { explicit: Some(content), content, is_retry: false };
                let received_at = process.now();
                let asked = Committing { id, sent, received_at, identity, is_repeated: false };
                self.submit_commit(process, asked);
            }
            _ => {
                if let Some(command) = self.workload.release(&self.model) {
                    self.propose(process, command);
                }
            }
        }
    }

    pub(super) fn submit_commit(&mut self, process: &Process, asked: Committing) {
        self.tell(|| format!("commits {} by {:?}", asked.id, asked.sent));
        let slot = process.commit(&asked);
        self.waiting.push(Waiting::Commit { asked: Box::new(asked), slot });
    }

    /// Some messages are tried, at an endpoint that fails as a whole or now and then.
    pub(super) fn deliver(&mut self, process: &mut Process) -> Result<(), Fatal> {
        let mut all = process.engine.webhook_endpoints(None, usize::MAX);
        all.retain(|endpoint| endpoint.disabled.is_none());
        if all.is_empty() {
            return Ok(());
        }
        let index = self.workload.dice.pick(&all).index;
        let is_down = self.workload.dice.one_in(3);
        if self.workload.dice.one_in(12) {
            return self.outlast(process, index);
        }
        for _ in 0..=self.workload.dice.below(4) {
            let room = 1 + self.workload.dice.index(6);
            if !self.try_some(process, index, (room, is_down))? {
                break;
            }
        }
        Ok(())
    }

    /// A receiver is down for days.
    fn outlast(&mut self, process: &mut Process, index: EndpointIndex) -> Result<(), Fatal> {
        for _ in 0..9 {
            while self.try_some(process, index, (16, true))? {}
            process.advance(Duration::from_hours(11));
            self.settle(process)?;
        }
        Ok(())
    }

    /// Tries what is to be sent now, as far as there is room, and mostly has it logged; whether there may be
    /// more.
    fn try_some(
        &mut self,
        process: &mut Process,
        index: EndpointIndex,
        (room, is_down): (usize, bool),
    ) -> Result<bool, Fatal> {
        let kept = process.engine.kept_endpoint(index);
        let Some(kept) = kept.filter(|kept| kept.endpoint.disabled.is_none()) else {
            return Ok(false);
        };
        let pump = self.pumps.entry(index).or_insert_with(|| Pump::new(&kept));
        let now = process.engine.real_now();
        // The disk may not be readable.
        let Ok(found) = pump.next(&process.engine, now, room) else { return Ok(false) };
        for delivery in &found.deliveries {
            assert!(delivery.notice.to.contains(&index), "{delivery:?}");
            let fails = is_down || self.workload.dice.one_in(4);
            pump.ended(attempt_of(delivery, now, fails));
        }
        if self.workload.dice.one_in(5) {
            return Ok(false);
        }
        let Some(entry) = pump.take_news(&process.engine) else { return Ok(found.has_more) };
        let slot = process.settle_webhooks(entry.clone());
        self.settle(process)?;
        slot.take().expect("it is answered").expect("nothing can be wrong with it");
        if let Some(pump) = self.pumps.get_mut(&index) {
            pump.logged(&entry);
        }
        Ok(true)
    }

    /// Every message that waits for an endpoint is tried in the end.
    pub(super) fn deliver_all(&mut self, process: &mut Process) {
        self.place.disk.clear_faults();
        for endpoint in process.engine.webhook_endpoints(None, usize::MAX) {
            if endpoint.disabled.is_some() {
                continue;
            }
            for _ in 0..12 {
                while self.try_some(process, endpoint.index, (16, false)).expect("a healthy disk") {
                }
                process.advance(Duration::from_hours(11));
                self.settle(process).expect("a healthy disk");
            }
        }
    }

    /// Alerts look at everybody whose counters have moved.
    pub(super) fn watch(&mut self, process: &mut Process) -> Result<(), Fatal> {
        for _ in 0..200 {
            match process.machine.watcher.step() {
                Step::Working | Step::RoundOver => {}
                Step::Waiting => self.settle(process)?,
                Step::Idle => {
                    if self.model.follow_credits(process).is_ok() {
                        let clock = process.engine.clock();
                        self.model.credits.end_watch(clock.now.max(clock.log_time));
                        self.reached.note("alert: everybody looked at");
                    }
                    return Ok(());
                }
            }
        }
        // The disk cannot be read: who was looked at is not known.
        self.model.credits.skip_watch();
        Ok(())
    }
}
