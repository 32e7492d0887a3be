//! What happens in a random run, drawn from a seed.

use quipu::world::entropy::{Entropy, draw};
use quipu::world::sim::SimEntropy;

/// Dice that fall the same way for the same seed.
#[derive(Debug)]
pub(crate) struct Dice(SimEntropy);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        // The worlds' own seeds are small numbers; these dice must not fall as their randomness does.
        Self(SimEntropy::new(seed ^ 0x0051_4950_5544_4943))
    }

    /// A number below `bound`.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        let source: &dyn Entropy = &self.0;
        u64::from_le_bytes(draw(source)) % bound
    }

    /// A number below `bound`, as durations are multiplied by.
    pub(crate) fn few(&self, bound: u32) -> u32 {
        u32::try_from(self.below(u64::from(bound))).expect("below a u32")
    }

    /// A number within `range`, its end excluded.
    pub(crate) fn within(&self, range: std::ops::Range<i64>) -> i64 {
        let width = u64::try_from(range.end - range.start).expect("a range that is not empty");
        range.start + i64::try_from(self.below(width)).expect("below an i64")
    }

    /// Whether one of `sides` comes up.
    pub(crate) fn one_in(&self, sides: u64) -> bool {
        self.below(sides) == 0
    }

    pub(crate) fn index(&self, count: usize) -> usize {
        usize::try_from(self.below(count as u64)).expect("below a usize")
    }

    pub(crate) fn pick<'a, T>(&self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }
}
