//! `circleci tests split`: which tests are this node's. The same input gives the same answer on every
//! node, so the nodes' shares make up the whole without a word between them.

use std::collections::HashMap;

/// What decides about how much work a test is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum By {
    /// Each is as much as the others.
    #[default]
    Name,
    /// The size of its file.
    FileSize,
    /// How long it took before.
    Timings,
}

/// By which name a test is known to its timings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whichever finds some.
    #[default]
    AutoDetect,
    /// Its class.
    Class,
    /// Its file.
    File,
    /// Its own name.
    Test,
}

/// How long tests took, by each of their names, in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Timings {
    by_file: HashMap<String, u64>,
    by_class: HashMap<String, u64>,
    by_test: HashMap<String, u64>,
}

impl Timings {
    /// Reads the results of earlier runs: `{"tests": [{"file", "classname", "name", "run_time"}]}`, seconds.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let tests = value.get("tests").and_then(|tests| tests.as_array());
        let mut timings = Self::default();
        for test in tests.ok_or("it has no list `tests`")? {
            let seconds = test.get("run_time").and_then(serde_json::Value::as_f64);
            let Some(time) = seconds.filter(|seconds| *seconds >= 0.0) else {
                continue;
            };
            let time = std::time::Duration::try_from_secs_f64(time).unwrap_or_default();
            let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            for (key, names) in [
                ("file", &mut timings.by_file),
                ("classname", &mut timings.by_class),
                ("name", &mut timings.by_test),
            ] {
                if let Some(name) = test.get(key).and_then(serde_json::Value::as_str) {
                    let sum = names.entry(plain(name).to_owned()).or_default();
                    *sum = sum.saturating_add(micros);
                }
            }
        }
        Ok(timings)
    }

    /// A weight for each test; `None` when none of them is known.
    pub(crate) fn weights(&self, names: &[String], kind: Kind, unknown: u64) -> Option<Vec<u64>> {
        let kinds: &[&HashMap<String, u64>] = match kind {
            Kind::AutoDetect => &[&self.by_file, &self.by_class, &self.by_test],
            Kind::Class => &[&self.by_class],
            Kind::File => &[&self.by_file],
            Kind::Test => &[&self.by_test],
        };
        let known = kinds
            .iter()
            .find(|known| names.iter().any(|name| known.contains_key(plain(name))))?;
        let weight = |name: &String| known.get(plain(name)).copied().unwrap_or(unknown);
        Some(names.iter().map(weight).collect())
    }
}

/// A path as it is named elsewhere.
fn plain(name: &str) -> &str {
    name.trim_start_matches("./")
}

/// The share of one node. Without weights the names are dealt out in their order; with weights the
/// heaviest goes first, each to the node that has the least.
pub(crate) fn share(
    names: Vec<String>,
    weights: Option<Vec<u64>>,
    index: usize,
    total: usize,
) -> Vec<String> {
    if total <= 1 {
        return names;
    }
    let Some(weights) = weights else {
        let mut names = names;
        names.sort();
        return names.into_iter().skip(index).step_by(total).collect();
    };
    let mut tests: Vec<(u64, String)> = weights.into_iter().zip(names).collect();
    tests.sort_by(|(left, left_name), (right, right_name)| {
        right.cmp(left).then_with(|| left_name.cmp(right_name))
    });
    // Load and number of tests, so that tests without weight are spread as well.
    let mut loads = vec![(0_u64, 0_usize); total];
    let mut mine = Vec::new();
    for (weight, name) in tests {
        let least = loads.iter().enumerate().min_by_key(|(_, load)| **load);
        let Some((node, _)) = least else { break };
        if let Some((load, count)) = loads.get_mut(node) {
            *load = load.saturating_add(weight);
            *count += 1;
        }
        if node == index {
            mine.push(name);
        }
    }
    mine
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("t{number:02}")).collect()
    }

    fn shares(names: &[String], weights: Option<&[u64]>, total: usize) -> Vec<Vec<String>> {
        (0..total)
            .map(|index| share(names.to_vec(), weights.map(<[u64]>::to_vec), index, total))
            .collect()
    }

    #[test]
    fn shares_are_disjoint_and_make_up_the_whole() {
        for count in [0, 1, 2, 3, 10, 11, 97] {
            let all = names(count);
            let ascending: Vec<u64> = (0..count as u64).collect();
            let flat = vec![0; count];
            for total in [1, 2, 3, 8] {
                for weights in [None, Some(ascending.as_slice()), Some(flat.as_slice())] {
                    let shares = shares(&all, weights, total);
                    let mut together = shares.concat();
                    together.sort();
                    assert_eq!(together, all, "{count} over {total} by {weights:?}");
                    let sizes = || shares.iter().map(Vec::len);
                    let apart = sizes().max().unwrap_or(0) - sizes().min().unwrap_or(0);
                    if weights != Some(ascending.as_slice()) {
                        assert!(apart <= 1, "{count} over {total}: {shares:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter_and_doubles_stay() {
        let mut turned = names(10);
        turned.reverse();
        assert_eq!(shares(&turned, None, 3), shares(&names(10), None, 3));
        let doubled: Vec<String> = ["a", "a", "b"].map(str::to_owned).into();
        assert_eq!(shares(&doubled, None, 2).concat().len(), 3);
    }

    #[test]
    fn heavy_tests_are_kept_apart() {
        let names: Vec<String> = ["slow", "a", "b", "c"].map(str::to_owned).into();
        let shares = shares(&names, Some(&[90, 30, 30, 30]), 2);
        assert_eq!(shares, [vec!["slow"], vec!["a", "b", "c"]]);
    }

    #[test]
    fn timings_are_found_by_whichever_name_a_test_has() {
        let timings = Timings::parse(
            r#"{"tests": [
                {"file": "./spec/a.rb", "classname": "A", "name": "adds", "run_time": 1.5},
                {"file": "spec/a.rb", "classname": "A", "name": "drops", "run_time": 0.5},
                {"classname": "B", "name": "runs", "run_time": 4, "more": null},
                {"name": "untimed"}
            ]}"#,
        )
        .unwrap();
        let weights = |names: &[&str], kind| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            timings.weights(&names, kind, 7)
        };
        let auto = Kind::AutoDetect;
        assert_eq!(
            weights(&["spec/a.rb", "new.rb"], auto),
            Some(vec![2_000_000, 7])
        );
        assert_eq!(weights(&["B", "A"], auto), Some(vec![4_000_000, 2_000_000]));
        assert_eq!(weights(&["drops"], auto), Some(vec![500_000]));
        assert_eq!(weights(&["B", "A"], Kind::File), None);
        assert_eq!(weights(&["nobody"], auto), None);
        for broken in ["", "[]", "{}", "{\"tests\": 1}"] {
            assert!(Timings::parse(broken).is_err(), "{broken}");
        }
    }
}
