//! Changes that a power cut may take back.
//!
//! One journal belongs to one durable image: a file's bytes or the directory's names. Changes stand
//! in the order in which they were made. A sync makes waiting changes durable; a failed sync leaves
//! them in doubt for ever, whatever a later sync answers, which is what a retried `fsync` does.

use super::entropy::SplitMix;

/// Changes since the durable image, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Journal<Change> {
    entries: Vec<(Fate, Change)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The next sync makes it durable.
    Waiting,
    /// Its sync failed.
    InDoubt,
    /// Durable, but made after one that is in doubt, so that it cannot join the image yet.
    Durable,
}

/// What a power cut leaves of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    All,
    /// Any part of it.
    Some,
    Nothing,
}

/// The fate of changes that are not durable when the power fails.
#[derive(Debug)]
pub(super) struct PowerCut {
    /// Each survives whole, in part or not at all; without a generator none does.
    generator: Option<SplitMix>,
    losses: Losses,
}

/// What a power cut did to changes that were not durable, files' and names' alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Changes that survived whole.
    pub kept: u64,
    /// Writes of which some sectors may have survived.
    pub torn: u64,
    /// Changes that are gone.
    pub dropped: u64,
    /// Changes that survived although an earlier one of the same file, or of the names, did not.
    pub reordered: u64,
    /// Of all these the ones whose sync had failed.
    pub in_doubt: u64,
    /// Of those that are gone, creations, renames and removals.
    pub names_undone: u64,
}

impl PowerCut {
    pub(super) fn drops_all() -> Self {
        Self { generator: None, losses: Losses::default() }
    }

    pub(super) fn random(seed: u64) -> Self {
        Self { generator: Some(SplitMix::new(seed)), losses: Losses::default() }
    }

    /// What the cut did so far.
    pub(super) fn losses(&self) -> Losses {
        self.losses
    }

    pub(super) fn count_name_undone(&mut self) {
        self.losses.names_undone += 1;
    }

    fn left(&mut self) -> Left {
        match self.generator.as_mut().map(|generator| generator.next() % 3) {
            None | Some(2) => Left::Nothing,
            Some(0) => Left::All,
            Some(_) => Left::Some,
        }
    }

    /// Whether one part of a change survives, when [`Left::Some`] of it does.
    pub(super) fn keeps_part(&mut self) -> bool {
        self.generator.as_mut().is_some_and(SplitMix::coin)
    }

    fn count(&mut self, left: Left, fate: Fate, is_any_lost: &mut bool) {
        let losses = &mut self.losses;
        losses.in_doubt += u64::from(fate == Fate::InDoubt);
        losses.reordered += u64::from(left == Left::All && *is_any_lost);
        match left {
            Left::All => losses.kept += 1,
            Left::Some => losses.torn += 1,
            Left::Nothing => losses.dropped += 1,
        }
        *is_any_lost |= left != Left::All;
    }
}

impl<Change> Default for Journal<Change> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<Change> Journal<Change> {
    pub(super) fn push(&mut self, change: Change) {
        self.entries.push((Fate::Waiting, change));
    }

    /// Makes waiting changes durable, and hands over those that can join the durable image.
    pub(super) fn sync(&mut self) -> impl Iterator<Item = Change> {
        self.settle(Fate::Durable);
        let ready = self.entries.iter().take_while(|(fate, _)| *fate == Fate::Durable).count();
        self.entries.drain(..ready).map(|(_, change)| change)
    }

    /// A sync that failed.
    pub(super) fn sync_failed(&mut self) {
        self.settle(Fate::InDoubt);
    }

    fn settle(&mut self, settled: Fate) {
        for (fate, _) in &mut self.entries {
            if *fate == Fate::Waiting {
                *fate = settled;
            }
        }
    }

    /// What is left of each change after a power cut, in order.
    pub(super) fn cut(&self, power: &mut PowerCut) -> Vec<(Left, &Change)> {
        let entries = self.entries.iter();
        let mut is_any_lost = false;
        entries
            .map(|(fate, change)| match fate {
                Fate::Durable => (Left::All, change),
                Fate::Waiting | Fate::InDoubt => {
                    let left = power.left();
                    power.count(left, *fate, &mut is_any_lost);
                    (left, change)
                }
            })
            .collect()
    }

    pub(super) fn changes_mut(&mut self) -> impl Iterator<Item = &mut Change> {
        self.entries.iter_mut().map(|(_, change)| change)
    }

    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.entries.iter().map(|(_, change)| change)
    }
}
