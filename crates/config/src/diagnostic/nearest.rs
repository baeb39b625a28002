//! Which name a misspelt one was meant to be.

/// Longest name that can be a misspelt one, and how many are tried: a suggestion must not cost more than
/// the mistake.
const LONGEST_MEANT: usize = 100;
const MOST_MEANT: usize = 2_000;

/// The name most like a misspelt one, if one is close enough to be meant: a letter in four may differ, two
/// neighbours changed places count as one, and the start of a name stands for the whole.
pub fn nearest<'n>(name: &str, all: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let wanted = lower(name);
    let limit = (wanted.len() / 4).clamp(1, 3);
    if name.len() > LONGEST_MEANT {
        return None;
    }
    // What differs by more than half its length is another word, whatever its letters.
    let alike =
        |other: &&str| other.len() <= 2 * name.len() + 8 && name.len() <= 2 * other.len() + 8;
    all.filter(alike)
        .take(MOST_MEANT)
        .filter_map(|other| {
            let candidate = lower(other);
            let far = distance(&wanted, &candidate);
            let (short, long) = if wanted.len() < candidate.len() {
                (&wanted, &candidate)
            } else {
                (&candidate, &wanted)
            };
            let begun =
                long.starts_with(short) && short.len() >= 3 && short.len() * 3 >= long.len() * 2;
            (far <= limit || begun).then_some((far, other))
        })
        .min()
        .map(|(_, other)| other)
}

fn lower(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// How many letters to insert, drop, change, or swap with their neighbour.
fn distance(a: &[char], b: &[char]) -> usize {
    let at = |row: &[usize], i: usize| row.get(i).copied().unwrap_or(usize::MAX / 2);
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut last = None;
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        let mut left = None;
        for (j, y) in b.iter().enumerate() {
            let changed = at(&row, j) + usize::from(x != y);
            let mut best = changed.min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            if last == Some(y) && left == Some(x) {
                best = best.min(at(&before, j.saturating_sub(1)) + 1);
            }
            next.push(best);
            left = Some(y);
        }
        before = std::mem::replace(&mut row, next);
        last = Some(x);
    }
    at(&row, b.len())
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let table = [
            ("chekout", Some("checkout")),
            ("dokcer", Some("docker")),
            ("tset", Some("test")),
            ("nmae", Some("name")),
            ("Steps", Some("steps")),
            ("on_failure", Some("on_fail")),
            ("env", None),
            ("py311_win", None),
            ("x", None),
        ];
        let all = [
            "checkout",
            "docker",
            "test",
            "name",
            "steps",
            "on_fail",
            "environment",
            "py311_linux",
        ];
        for (name, wanted) in table {
            assert_eq!(nearest(name, all.into_iter()), wanted, "{name}");
        }
    }
}
