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
pub(super) enum PowerCut {
    /// None of them survives.
    DropsAll,
    /// Each survives whole, in part or not at all.
    Random(SplitMix),
}

impl PowerCut {
    fn left(&mut self) -> Left {
        match self {
            Self::DropsAll => Left::Nothing,
            Self::Random(generator) => match generator.next() % 3 {
                0 => Left::All,
                1 => Left::Some,
                _ => Left::Nothing,
            },
        }
    }

    /// Whether one part of a change survives, when [`Left::Some`] of it does.
    pub(super) fn keeps_part(&mut self) -> bool {
        match self {
            Self::DropsAll => false,
            Self::Random(generator) => generator.coin(),
        }
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
        entries
            .map(|(fate, change)| match fate {
                Fate::Durable => (Left::All, change),
                Fate::Waiting | Fate::InDoubt => (power.left(), change),
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
