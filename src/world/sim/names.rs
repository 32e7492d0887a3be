//! The simulated directory: which name means which file, and what a power cut would leave of that.
//!
//! Each unsynced creation, removal or rename survives a power cut whole or is undone, whether or
//! not earlier ones survived. A file never ends up under two names.

use std::collections::{BTreeMap, BTreeSet};

use super::journal::{Journal, Left, PowerCut};

/// A file's number; never used twice on one disk.
pub(super) type InodeNumber = u64;

#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    live: BTreeMap<String, InodeNumber>,
    durable: BTreeMap<String, InodeNumber>,
    journal: Journal<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Create { name: String, inode: InodeNumber },
    Rename { to: String, inode: InodeNumber },
    Remove { inode: InodeNumber },
}

impl Names {
    /// Names that are all durable.
    pub(super) fn durable(names: BTreeMap<String, InodeNumber>) -> Self {
        Self { live: names.clone(), durable: names, ..Self::default() }
    }

    pub(super) fn get(&self, name: &str) -> Option<InodeNumber> {
        self.live.get(name).copied()
    }

    pub(super) fn live(&self) -> &BTreeMap<String, InodeNumber> {
        &self.live
    }

    pub(super) fn create(&mut self, name: &str, inode: InodeNumber) {
        self.change(Change::Create { name: name.to_owned(), inode });
    }

    /// False when there is no such file.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> bool {
        let Some(inode) = self.get(from) else { return false };
        self.change(Change::Rename { to: to.to_owned(), inode });
        true
    }

    /// False when there is no such file.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let Some(inode) = self.get(name) else { return false };
        self.change(Change::Remove { inode });
        true
    }

    pub(super) fn sync(&mut self) {
        for change in self.journal.sync() {
            change.apply(&mut self.durable);
        }
    }

    pub(super) fn sync_failed(&mut self) {
        self.journal.sync_failed();
    }

    /// The names after a power cut.
    pub(super) fn cut(&self, power: &mut PowerCut) -> BTreeMap<String, InodeNumber> {
        let mut names = self.durable.clone();
        for (left, change) in self.journal.cut(power) {
            let is_kept = match left {
                Left::All => true,
                Left::Some => power.keeps_part(),
                Left::Nothing => false,
            };
            if is_kept {
                change.apply(&mut names);
            } else {
                power.count_name_undone();
            }
        }
        names
    }

    /// Every file that has a name, or may have one after a power cut.
    pub(super) fn reachable(&self) -> BTreeSet<InodeNumber> {
        let journal = self.journal.changes().map(|change| match change {
            Change::Create { inode, .. }
            | Change::Rename { inode, .. }
            | Change::Remove { inode } => *inode,
        });
        self.live.values().chain(self.durable.values()).copied().chain(journal).collect()
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.journal.push(change);
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, InodeNumber>) {
        match self {
            Self::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            // By number, not by name: an undone rename may have left the file under its older name.
            Self::Rename { to, inode } => {
                names.retain(|_, named| named != inode);
                names.insert(to.clone(), *inode);
            }
            Self::Remove { inode } => names.retain(|_, named| named != inode),
        }
    }
}
