//! Finds patterns in bytes. A filter looks at every n-th position only, so that text without secrets,
//! which is nearly all there is, costs next to nothing; where a pattern may begin, the sorted patterns
//! are searched for the longest that does.
//!
//! The textbook's automaton (Aho-Corasick) was slower on a dozen secrets, and of the thousands of long
//! patterns that one private key makes it built a table of 60 MB, in a time that every task with that key
//! would have paid. What it promises and this does not, a bound that is independent of the patterns' length, is
//! kept in effect by the bound on that length (see `forms`).

use std::ops::Range;
use std::sync::Arc;

/// Bytes of a pattern that the filter looks at; no pattern is shorter.
pub(super) const GRAM: usize = 4;
/// Positions the filter may jump over; more would gain nothing and fill its table.
const WIDEST_STEP: usize = 8;

/// Patterns, and what finds them.
pub(super) struct Finder {
    /// Sorted.
    patterns: Arc<Vec<Vec<u8>>>,
    /// For each pattern the longest other one that it begins with.
    shorter: Vec<Option<usize>>,
    /// Every gram that starts in the first [`Finder::step`] positions of a pattern.
    sampled: Grams,
    /// The first gram of every pattern.
    first: Grams,
    step: usize,
    longest: usize,
}

impl Finder {
    /// `None` when there is nothing to find. The patterns are sorted, and each is at least [`GRAM`] long.
    pub(super) fn new(patterns: Arc<Vec<Vec<u8>>>) -> Option<Self> {
        let shortest = patterns.iter().map(Vec::len).min()?;
        let longest = patterns.iter().map(Vec::len).max()?;
        let step = (shortest + 1).saturating_sub(GRAM).clamp(1, WIDEST_STEP);
        let (mut sampled, mut first) = (Grams::empty(), Grams::empty());
        for pattern in patterns.iter() {
            first.insert(pattern, 0);
            for at in 0..step {
                sampled.insert(pattern, at);
            }
        }
        Some(Self {
            shorter: shorter(&patterns),
            patterns,
            sampled,
            first,
            step,
            longest,
        })
    }

    /// Length of the longest pattern.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The first match that starts at `from` or later, and of those the longest.
    pub(super) fn find(&self, bytes: &[u8], from: usize) -> Option<Range<usize>> {
        let mut sample = from;
        loop {
            if self.sampled.contains(bytes, sample)? {
                let earliest = from.max((sample + 1).saturating_sub(self.step));
                let found = (earliest..=sample).find_map(|at| self.match_at(bytes, at));
                if found.is_some() {
                    return found;
                }
            }
            sample += self.step;
        }
    }

    /// The longest pattern that stands here.
    fn match_at(&self, bytes: &[u8], at: usize) -> Option<Range<usize>> {
        if !self.first.contains(bytes, at)? {
            return None;
        }
        let rest = bytes.get(at..)?;
        // Every pattern that `rest` begins with is also what this one, the last before `rest` in order,
        // begins with.
        let after = self
            .patterns
            .partition_point(|pattern| pattern.as_slice() <= rest);
        let mut candidate = after.checked_sub(1);
        while let Some(number) = candidate {
            let pattern = self.patterns.get(number)?;
            if rest.starts_with(pattern) {
                return Some(at..at + pattern.len());
            }
            candidate = *self.shorter.get(number)?;
        }
        None
    }

    /// Where the longest tail begins that more input could turn into a match, or into a longer one.
    pub(super) fn open_tail(&self, bytes: &[u8]) -> usize {
        let from = bytes.len().saturating_sub(self.longest);
        (from..bytes.len())
            .find(|at| {
                let known = self.first.contains(bytes, *at);
                known != Some(false) && self.begins_pattern(bytes.get(*at..).unwrap_or_default())
            })
            .unwrap_or(bytes.len())
    }

    fn begins_pattern(&self, tail: &[u8]) -> bool {
        // Sorted patterns that start with `tail` follow `tail` itself, which is not open any more.
        let after = self
            .patterns
            .partition_point(|pattern| pattern.as_slice() <= tail);
        self.patterns
            .get(after)
            .is_some_and(|pattern| pattern.starts_with(tail))
    }
}

fn shorter(patterns: &[Vec<u8>]) -> Vec<Option<usize>> {
    let mut prefixes: Vec<usize> = Vec::new();
    let mut all = Vec::with_capacity(patterns.len());
    for (number, pattern) in patterns.iter().enumerate() {
        let begins_with = |prefix: &usize| {
            let prefix = patterns.get(*prefix);
            prefix.is_some_and(|prefix| pattern.starts_with(prefix))
        };
        // In sorted order, what one pattern does not begin with, no later one does.
        while prefixes.last().is_some_and(|prefix| !begins_with(prefix)) {
            prefixes.pop();
        }
        all.push(prefixes.last().copied());
        prefixes.push(number);
    }
    all
}

/// A set of grams that may claim to have what it has not.
struct Grams(Box<[u64]>);

impl Grams {
    /// As many bits as fit a processor's nearest cache.
    const BITS: u32 = 17;

    fn empty() -> Self {
        Self(vec![0; 1 << (Self::BITS - 6)].into_boxed_slice())
    }

    fn insert(&mut self, pattern: &[u8], at: usize) {
        let Some((word, bit)) = Self::place(pattern, at) else {
            return;
        };
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    /// `None` when fewer bytes than a gram are left.
    fn contains(&self, bytes: &[u8], at: usize) -> Option<bool> {
        let (word, bit) = Self::place(bytes, at)?;
        self.0.get(word).map(|word| word & bit != 0)
    }

    fn place(bytes: &[u8], at: usize) -> Option<(usize, u64)> {
        let gram = bytes.get(at..)?.first_chunk::<GRAM>()?;
        // The upper bits of a product with an odd number depend on all bits of the other factor.
        let hash = u32::from_le_bytes(*gram).wrapping_mul(0x9E37_79B1) >> (32 - Self::BITS);
        let word = usize::try_from(hash >> 6).ok()?;
        Some((word, 1 << (hash & 63)))
    }
}
