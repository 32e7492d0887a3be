//! A map behind striped locks that can be copied as it was at one instant while it goes on changing.
//!
//! One thread changes it; any number read. [`Striped::begin_cut`] starts a new epoch, and from then on
//! the first touch of an entry in a stripe that was not copied yet saves its old value aside.

use std::hash::{BuildHasher, Hash};
use std::hint::black_box;

use hashbrown::{DefaultHashBuilder, HashMap};

use crate::model::Lsn;
use crate::world::sync::atomic::{AtomicU64, Ordering};
use crate::world::sync::{Mutex, MutexGuard};

/// Enough that one stripe of 10 million entries is copied in 3 ms, few enough to be cheap to visit.
const STRIPES: usize = 1 << STRIPE_BITS;
const STRIPE_BITS: u32 = 10;

/// A key of a striped map.
pub trait StripedKey: Copy + Eq + Hash {
    /// What decides on the stripe: keys that are read together share it.
    type Group: Hash;

    /// The group that the key belongs to.
    fn group(&self) -> Self::Group;
}

/// One lock's share of a map.
#[derive(Debug)]
pub struct Stripe<K, V> {
    /// The entries as they are.
    pub entries: HashMap<K, V>,
    /// Values as they were at the cut, of entries touched since; `None` for those made since.
    aside: HashMap<K, Option<V>>,
    /// The last epoch this stripe was copied for.
    copied: u64,
    /// The last LSN of the last record that changed it. A record changes a stripe under one lock, so
    /// that what is read under the lock is the state of one LSN.
    pub changed: Lsn,
}

/// The map; see the module.
#[derive(Debug)]
pub struct Striped<K, V> {
    all: Box<[Mutex<Stripe<K, V>>]>,
    epoch: AtomicU64,
    hasher: DefaultHashBuilder,
}

impl<K, V> Default for Stripe<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::default(),
            aside: HashMap::default(),
            copied: 0,
            changed: Lsn::ZERO,
        }
    }
}

impl<K, V> Default for Striped<K, V> {
    fn default() -> Self {
        Self {
            all: std::iter::repeat_with(Mutex::default).take(STRIPES).collect(),
            epoch: AtomicU64::new(0),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<K: StripedKey, V: Copy + Default> Striped<K, V> {
    /// The stripe that holds a group.
    pub fn place(&self, group: &K::Group) -> usize {
        uneven(self.hasher.hash_one(group))
    }

    /// Locks a stripe.
    ///
    /// # Panics
    /// When there is no such stripe.
    pub fn lock(&self, place: usize) -> MutexGuard<'_, Stripe<K, V>> {
        self.all.get(place).expect("places are below the number of stripes").lock()
    }

    /// The value under a key.
    pub fn get(&self, key: &K) -> Option<V> {
        self.lock(self.place(&key.group())).entries.get(key).copied()
    }

    /// Reads the values under these keys, so that the caches have them. Their stripes are locked together: a lock
    /// that is taken between two reads makes the second wait for the first. Nobody else may lock more than one.
    pub fn look_at(&self, keys: impl Iterator<Item = K>) {
        let mut placed: Vec<_> = keys.map(|key| (self.place(&key.group()), key)).collect();
        placed.sort_unstable_by_key(|(place, _)| *place);
        let of_stripes = placed.chunk_by(|(one, _), (other, _)| one == other);
        let locked: Vec<_> = of_stripes
            .filter_map(|keys| keys.first().map(|(place, _)| (self.lock(*place), keys)))
            .collect();
        for (stripe, keys) in &locked {
            for (_, key) in *keys {
                black_box(stripe.entries.get(key).copied());
            }
        }
    }

    /// Changes the value under a key, which is made when it is not there. Only one thread may.
    pub fn change(&self, key: K, change: impl FnOnce(&mut V)) {
        let epoch = self.epoch();
        change(self.lock(self.place(&key.group())).touch(key, epoch));
    }

    /// Takes the value under a key out. Only the thread that changes may.
    pub fn remove(&self, key: &K) {
        let epoch = self.epoch();
        self.lock(self.place(&key.group())).remove(key, epoch);
    }

    /// Puts a loaded value in its place.
    pub fn load(&self, key: K, value: V) {
        self.lock(self.place(&key.group())).entries.insert(key, value);
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.all.iter().map(|stripe| stripe.lock().entries.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of the last cut, for [`Stripe::touch`].
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Starts a cut: what [`Striped::copy`] returns from now on is the state of this instant. The
    /// previous cut must have been copied whole. Called by the thread that changes.
    pub fn begin_cut(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// How many stripes there are to copy.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The entries of the stripe at `place` as they were at the cut.
    ///
    /// # Panics
    /// When the stripe was copied already since the cut.
    pub fn copy(&self, place: usize) -> Vec<(K, V)> {
        let epoch = self.epoch();
        let mut stripe = self.lock(place);
        assert!(stripe.copied < epoch, "a stripe is copied once a cut");
        let aside = std::mem::take(&mut stripe.aside);
        stripe.copied = epoch;
        // Most stripes are copied before anything touches them.
        let is_any_touched = !aside.is_empty();
        let is_untouched = |key: &K| !is_any_touched || !aside.contains_key(key);
        let now = stripe.entries.iter().filter(|(key, _)| is_untouched(key));
        let now = now.map(|(key, now)| (*key, *now));
        now.chain(aside.iter().filter_map(|(key, old)| Some((*key, (*old)?)))).collect()
    }
}

impl<K: StripedKey, V: Copy + Default> Stripe<K, V> {
    /// The entry to be changed, its value at the cut saved aside.
    pub fn touch(&mut self, key: K, epoch: u64) -> &mut V {
        self.save(key, epoch);
        self.entries.entry(key).or_default()
    }

    fn remove(&mut self, key: &K, epoch: u64) {
        self.save(*key, epoch);
        self.entries.remove(key);
    }

    fn save(&mut self, key: K, epoch: u64) {
        if self.copied < epoch {
            let old = &self.entries;
            self.aside.entry(key).or_insert_with(|| old.get(&key).copied());
        }
    }

    /// Forgets entries that are in the last copy and wanted no more.
    pub fn retain(&mut self, is_wanted: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| is_wanted(key));
        if self.entries.capacity() > 4 * self.entries.len() + 64 {
            self.entries.shrink_to_fit();
        }
    }
}

/// The stripe for a hash: the first ones get half as many keys as the last, and those between them
/// ever more. A stripe's table doubles when it is full. If all were as full as each other, all would
/// double at once, and be half empty together; this way only some are at any time.
fn uneven(hash: u64) -> usize {
    const HALF: u32 = u32::BITS;
    // Fractions of 2^32. What a stripe gets is the inverse of how fast this rises: 3/4 to 3/2.
    let part = hash >> HALF;
    let bend = (part * ((1 << HALF) - part)) >> HALF;
    let place = part + bend / 3;
    // Fits: the fraction is below 2^32, because it rises throughout.
    usize::try_from(place >> (HALF - STRIPE_BITS)).unwrap_or(0).min(STRIPES - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    impl StripedKey for u8 {
        type Group = u8;

        fn group(&self) -> u8 {
            *self / 2
        }
    }

    /// Adds to an entry, or takes it out.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Add(u8, u8),
        Remove(u8),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..12_u8, 1..9_u8).prop_map(|(key, value)| Step::Add(key, value)),
            1 => (0..12_u8).prop_map(Step::Remove),
        ]
    }

    fn run(steps: &[Step], striped: &Striped<u8, u64>, model: &mut BTreeMap<u8, u64>) {
        for step in steps {
            // Keys of one stripe, keys that are there and others: it ends, and changes nothing.
            striped.look_at([0, 1, 5, 5, 11].into_iter());
            match *step {
                Step::Add(key, value) => {
                    striped.change(key, |sum| *sum += u64::from(value));
                    *model.entry(key).or_default() += u64::from(value);
                }
                Step::Remove(key) => {
                    striped.remove(&key);
                    model.remove(&key);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_copy_shows_the_cut_whatever_changes_while_it_is_made(
            before in prop::collection::vec(any_step(), 0..20),
            after in prop::collection::vec(any_step(), 0..20),
            copied_first in 0..STRIPES,
        ) {
            let (striped, mut model) = (Striped::default(), BTreeMap::new());
            run(&before, &striped, &mut model);
            let cut = model.clone();
            striped.begin_cut();
            let mut copied = BTreeMap::new();
            (0..copied_first).for_each(|place| copied.extend(striped.copy(place)));
            run(&after, &striped, &mut model);
            (copied_first..striped.count()).for_each(|place| copied.extend(striped.copy(place)));
            prop_assert_eq!(copied, cut);
            let now: BTreeMap<_, _> =
                (0..12).filter_map(|key| Some((key, striped.get(&key)?))).collect();
            prop_assert_eq!(striped.len(), now.len());
            prop_assert_eq!(now, model);
        }
    }

    #[test]
    fn tables_double_at_different_times() {
        let mut counts = vec![0_u64; STRIPES];
        // Every 2^40th hash: as even as hashes can be.
        (0..1_u64 << 24).for_each(|part| counts[uneven(part << 40)] += 1);
        let even = (1_u64 << 24) / STRIPES as u64;
        assert!(counts.iter().all(|count| (even * 7 / 10..even * 8 / 5).contains(count)));
        // Slots of tables that are at most 7/8 full, whatever the number of entries.
        for entries in (1_000_000..2_000_000).step_by(50_000) {
            let tables = counts.iter().map(|count| (entries * count) >> 24);
            let slots: u64 = tables.map(|count| (count * 8 / 7).next_power_of_two()).sum();
            assert!(slots * 10 < entries * 18, "{slots} slots for {entries} entries");
        }
    }
}
