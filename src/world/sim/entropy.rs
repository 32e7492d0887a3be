//! Randomness from a seed: the same seed, the same bytes. Not fit for secrets.

use parking_lot::Mutex;

use crate::world::Entropy;

/// A source of bytes that follow from its seed alone.
#[derive(Debug)]
pub struct SimEntropy {
    generator: Mutex<SplitMix>,
}

impl SimEntropy {
    /// The source of this seed.
    pub fn new(seed: u64) -> Self {
        Self { generator: Mutex::new(SplitMix::new(seed)) }
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut generator = self.generator.lock();
        for chunk in bytes.chunks_mut(8) {
            let drawn = generator.next().to_le_bytes();
            for (byte, random) in chunk.iter_mut().zip(drawn) {
                *byte = random;
            }
        }
    }
}

/// The generator splitmix64: every seed gives a full and well mixed period, in three lines.
#[derive(Clone, Debug)]
pub(super) struct SplitMix {
    state: u64,
}

impl SplitMix {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::entropy::draw;

    #[test]
    fn the_same_seed_draws_the_same_bytes_and_another_seed_others() {
        let bytes: [u8; 33] = draw(&SimEntropy::new(7));
        assert_eq!(bytes, draw(&SimEntropy::new(7)));
        assert_ne!(bytes, draw(&SimEntropy::new(8)));
    }

    #[test]
    fn one_source_does_not_repeat_itself() {
        let source = SimEntropy::new(0);
        let first: [u8; 16] = draw(&source);
        assert_ne!(first, draw(&source));
    }

    #[test]
    fn splitmix_gives_the_published_numbers() {
        let mut generator = SplitMix::new(1_234_567);
        assert_eq!(generator.next(), 6_457_827_717_110_365_317);
        assert_eq!(generator.next(), 3_203_168_211_198_807_973);
    }
}
