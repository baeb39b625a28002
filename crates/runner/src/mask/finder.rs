//! Finds patterns in bytes: an automaton behind a filter that looks at every n-th position only. Text
//! without secrets, which is nearly all there is, never reaches the automaton.

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

/// Bytes of a pattern that the filter looks at; no pattern is shorter.
pub(super) const GRAM: usize = 4;
/// Positions the filter may jump over; more would gain nothing and fill its table.
const WIDEST_STEP: usize = 8;
/// Bytes at the start of a pattern that are compared before the automaton is asked.
const HEAD: usize = 16;

/// Patterns, and what finds them.
pub(super) struct Finder {
    automaton: AhoCorasick,
    /// Sorted, for the question whether some bytes begin a pattern.
    patterns: Vec<Vec<u8>>,
    /// The first bytes of the patterns, sorted; none of them begins another.
    heads: Vec<Vec<u8>>,
    /// Every gram that starts in the first [`Finder::step`] positions of a pattern.
    sampled: Grams,
    /// The first gram of every pattern.
    first: Grams,
    step: usize,
    longest: usize,
}

impl Finder {
    /// `None` when there is nothing to find. The patterns are sorted and at least [`GRAM`] long.
    pub(super) fn new(patterns: Vec<Vec<u8>>) -> Option<Self> {
        let shortest = patterns.iter().map(Vec::len).min()?;
        let longest = patterns.iter().map(Vec::len).max()?;
        let build = |kind| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .kind(Some(kind))
                .prefilter(false)
                .build(&patterns)
        };
        // The smallest automaton fails only beyond two billion states; no environment is that large.
        let automaton = build(AhoCorasickKind::ContiguousNFA)
            .or_else(|_| build(AhoCorasickKind::NoncontiguousNFA))
            .ok()?;
        let step = (shortest + 1).saturating_sub(GRAM).clamp(1, WIDEST_STEP);
        let (mut sampled, mut first) = (Grams::empty(), Grams::empty());
        let mut heads: Vec<Vec<u8>> = Vec::new();
        for pattern in &patterns {
            first.insert(pattern, 0);
            for at in 0..step {
                sampled.insert(pattern, at);
            }
            // Sorted patterns: whatever begins with an earlier head comes right after it.
            if !heads.last().is_some_and(|head| pattern.starts_with(head)) {
                heads.push(pattern.iter().copied().take(HEAD).collect());
            }
        }
        Some(Self {
            automaton,
            patterns,
            heads,
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
    pub(super) fn find(&self, bytes: &[u8], from: usize) -> Option<std::ops::Range<usize>> {
        let mut from = from;
        loop {
            let start = self.candidate(bytes, from)?;
            // A match is inside this stretch, or starts where the next search begins: whatever the
            // bytes are, each is looked at a bounded number of times.
            let end = bytes.len().min(start + 2 * self.longest);
            let decided = if end == bytes.len() {
                end
            } else {
                end - self.longest
            };
            match self.automaton.find(Input::new(bytes).range(start..end)) {
                Some(found) if found.start() <= decided => return Some(found.range()),
                _ => from = decided + 1,
            }
        }
    }

    /// The first position from which a pattern may start: its first bytes are those of one.
    fn candidate(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut sample = from;
        loop {
            if self.sampled.contains(bytes, sample)? {
                let earliest = from.max((sample + 1).saturating_sub(self.step));
                let found = (earliest..=sample).find(|at| self.begins_with_head(bytes, *at));
                if found.is_some() {
                    return found;
                }
            }
            sample += self.step;
        }
    }

    fn begins_with_head(&self, bytes: &[u8], at: usize) -> bool {
        if self.first.contains(bytes, at) != Some(true) {
            return false;
        }
        let tail = bytes.get(at..).unwrap_or_default();
        let after = self.heads.partition_point(|head| head.as_slice() <= tail);
        after
            .checked_sub(1)
            .and_then(|last| self.heads.get(last))
            .is_some_and(|head| tail.starts_with(head))
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
