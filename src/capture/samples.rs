//! Which elements stand for a tensor: fixed by seed and name, spread over it.

/// `count` element numbers below `elements`, increasing, one drawn from each of `count` equal
/// stretches. All of them when there are no more.
pub(crate) fn spread(elements: usize, count: usize, seed: u64, name: &str) -> Vec<usize> {
    if count >= elements {
        return (0..elements).collect();
    }
    let mut random = SplitMix(seed ^ hash(name));
    let stretch = |index: usize| (index as u128 * elements as u128 / count as u128) as usize;
    (0..count)
        .map(|index| {
            let (start, end) = (stretch(index), stretch(index + 1));
            start + (random.next() % (end - start) as u64) as usize
        })
        .collect()
}

/// FNV-1a (Fowler, Noll, Vo): the same on every machine and in every version, unlike the standard
/// hasher.
fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_increasing_and_fixed() {
        for (elements, count) in [
            (10, 3),
            (1000, 999),
            (1_000_003, 64),
            (5, 5),
            (3, 9),
            (0, 4),
            (7, 0),
        ] {
            let chosen = spread(elements, count, 0, "conv1.weight");
            assert_eq!(chosen.len(), count.min(elements));
            assert!(chosen.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(chosen.iter().all(|&index| index < elements));
            assert_eq!(chosen, spread(elements, count, 0, "conv1.weight"));
        }
    }

    #[test]
    fn seed_and_name_choose() {
        let base = spread(1_000_000, 4, 0, "a");
        assert_ne!(base, spread(1_000_000, 4, 1, "a"));
        assert_ne!(base, spread(1_000_000, 4, 0, "b"));
        // Logged elements must not move from one release to the next.
        assert_eq!(base, [226_583, 359_535, 622_382, 751_736]);
    }
}
