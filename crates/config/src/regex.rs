//! Patterns of filters and logic: they match a whole name (language 10.8).

/// Steps after which a pattern that needs backtracking is given up.
const STEPS: usize = 1_000_000;

/// Whether `text` as a whole matches `pattern`.
///
/// # Errors
/// The pattern does not parse, or takes too long.
pub(crate) fn whole(pattern: &str, text: &str) -> Result<bool, String> {
    let invalid =
        |error: &fancy_regex::Error| format!("Invalid regular expression: {pattern}: {error}");
    // Parsed alone first, so that an unbalanced parenthesis cannot pair with ours.
    fancy_regex::Regex::new(pattern).map_err(|error| invalid(&error))?;
    let regex = fancy_regex::RegexBuilder::new(&format!("^(?:{pattern})\\z"))
        .backtrack_limit(STEPS)
        .build()
        .map_err(|error| invalid(&error))?;
    regex.is_match(text).map_err(|error| invalid(&error))
}

/// Whether it looks around or back, which the linear dialect does not have.
pub(crate) fn looks_around(pattern: &str) -> bool {
    ["(?=", "(?!", "(?<=", "(?<!"]
        .iter()
        .any(|part| pattern.contains(part))
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn a_pattern_matches_the_whole_name() {
        assert_eq!(whole("v", "v1"), Ok(false));
        assert_eq!(whole("a|ab", "ab"), Ok(true));
        assert_eq!(whole("^(?!main).*$", "dev"), Ok(true));
        assert!(whole("a)(b", "ab").is_err());
    }
}
