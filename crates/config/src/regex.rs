//! Patterns of filters and logic: they match a whole name (language 10.8).

use std::collections::HashMap;
use std::rc::Rc;

use fancy_regex::{Regex, RegexBuilder};

/// Steps after which a pattern that needs backtracking is given up.
const STEPS: usize = 100_000;
/// Longest pattern, in bytes.
const LONGEST: usize = 4 * 1024;
/// Largest program that a pattern may become, in bytes.
const SIZE: usize = 1024 * 1024;
/// Most patterns of one compilation: each is compiled once, and no config that is meant has so many.
const MOST: usize = 2_000;
/// Most patterns that are given up in one compilation; the others are then not tried.
const HOPELESS: usize = 10;
/// Most answers that are kept, and the longest pattern and text of one.
const ANSWERS: (usize, usize) = (10_000, 512);

/// The patterns of one compilation, each compiled once.
#[derive(Default)]
pub(crate) struct Patterns {
    compiled: HashMap<String, Rc<Result<Regex, String>>>,
    /// By pattern and text.
    answers: HashMap<String, HashMap<String, Result<bool, String>>>,
    answered: usize,
    hopeless: usize,
}

impl Patterns {
    /// Whether `text` as a whole matches `pattern`.
    ///
    /// # Errors
    /// The pattern does not parse, is too large, or takes too long.
    pub(crate) fn whole(&mut self, pattern: &str, text: &str) -> Result<bool, String> {
        if pattern.len() > LONGEST {
            return Err(format!(
                "Invalid regular expression: it has {} bytes, {LONGEST} at most",
                pattern.len()
            ));
        }
        if pattern.len() + text.len() > ANSWERS.1 {
            return self.ask(pattern, text);
        }
        let answers = self.answers.get(pattern);
        if let Some(answer) = answers.and_then(|answers| answers.get(text)) {
            return answer.clone();
        }
        let answer = self.ask(pattern, text);
        if self.answered < ANSWERS.0 {
            self.answered += 1;
            let answers = self.answers.entry(pattern.to_owned()).or_default();
            answers.insert(text.to_owned(), answer.clone());
        }
        answer
    }

    fn ask(&mut self, pattern: &str, text: &str) -> Result<bool, String> {
        let compiled = match self.compiled.get(pattern) {
            Some(compiled) => Rc::clone(compiled),
            None if self.compiled.len() >= MOST => {
                return Err(format!(
                    "a config uses at most {MOST} different regular expressions"
                ));
            }
            None => {
                let compiled = Rc::new(compile(pattern));
                let key = pattern.to_owned();
                self.compiled.insert(key, Rc::clone(&compiled));
                compiled
            }
        };
        let regex = compiled.as_ref().as_ref().map_err(Clone::clone)?;
        if looks_around(pattern) && self.hopeless >= HOPELESS {
            return Err(format!(
                "Invalid regular expression: {pattern}: not tried, as others took too long"
            ));
        }
        regex.is_match(text).map_err(|error| {
            self.hopeless += 1;
            invalid(pattern, &error)
        })
    }
}

fn invalid(pattern: &str, error: &fancy_regex::Error) -> String {
    format!("Invalid regular expression: {pattern}: {error}")
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let build = |text: &str| {
        RegexBuilder::new(text)
            .backtrack_limit(STEPS)
            .delegate_size_limit(SIZE)
            .build()
            .map_err(|error| invalid(pattern, &error))
    };
    // An unbalanced parenthesis must not pair with ours.
    if pattern.contains(['(', ')']) {
        build(pattern)?;
    }
    // What is wrong is told by its place in the pattern as it was written.
    build(&format!("^(?:{pattern})\\z")).map_err(|why| build(pattern).err().unwrap_or(why))
}

/// Whether it looks around or back, which the linear dialect does not have.
pub(crate) fn looks_around(pattern: &str) -> bool {
    ["(?=", "(?!", "(?<=", "(?<!"]
        .iter()
        .any(|part| pattern.contains(part))
}

#[cfg(test)]
mod tests {
    use super::Patterns;

    #[test]
    fn a_pattern_matches_the_whole_name() {
        let mut patterns = Patterns::default();
        let mut whole = |pattern: &str, text: &str| patterns.whole(pattern, text);
        assert_eq!(whole("v", "v1"), Ok(false));
        assert_eq!(whole("a|ab", "ab"), Ok(true));
        assert_eq!(whole("^(?!main).*$", "dev"), Ok(true));
        assert_eq!(whole("^(?!main).*$", "main"), Ok(false));
        assert!(whole("a)(b", "ab").is_err());
        assert!(whole("[\\]", "a").is_err());
    }

    #[test]
    fn long_and_large_patterns_are_refused() {
        let mut patterns = Patterns::default();
        for pattern in ["a".repeat(5_000), String::from("(?:(?:\\w{99}){99}){99}")] {
            assert!(patterns.whole(&pattern, "a").is_err());
        }
    }

    #[test]
    fn patterns_that_never_end_are_given_up_and_soon_not_tried() {
        let mut patterns = Patterns::default();
        let text = "a".repeat(60);
        let started = std::time::Instant::now();
        for n in 0..300 {
            let answer = patterns.whole(&format!("(?=b|)(?:a|a)*(?=c){n}"), &text);
            assert_ne!(answer, Ok(true));
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(10));
    }
}
