//! Random numbers from a seed that is printed, so that a failed run can be had again.

use std::hash::{BuildHasher, Hasher, RandomState};

/// The variable that sets the seed.
const SEED_VARIABLE: &str = "QUIPU_TEST_SEED";

/// The seed of this run, printed under the name of the test.
pub(crate) fn seed(test: &str) -> u64 {
    let given = std::env::var(SEED_VARIABLE).ok().map(|text| text.parse().unwrap());
    let seed = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    println!("{test}: {SEED_VARIABLE}={seed}");
    seed
}

/// A sequence of numbers (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Whether a thing happens that happens once in `in_so_many`.
    pub(crate) fn once_in(&mut self, in_so_many: u64) -> bool {
        self.below(in_so_many) == 0
    }

    /// Some place of a list of this length.
    pub(crate) fn place(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// Brings a list into another order.
    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.place(last + 1));
        }
    }
}
