//! `circleci tests glob`: which files a pattern names.

use std::fs;
use std::path::Path;

/// The most alternatives that the braces of one pattern may stand for.
const MOST_ALTERNATIVES: usize = 10_000;
/// The deepest folder that is looked into.
const DEEPEST: usize = 200;

/// Paths below the current directory that a pattern names, without order. A folder is named by a pattern
/// without `**` only: who says "everything below" means files.
pub(crate) fn find(pattern: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for plain in alternatives(pattern)? {
        let plain = plain.strip_prefix("./").unwrap_or(&plain);
        let deep = plain.contains("**");
        let depth = plain.split('/').count();
        let base = literal_folder(plain);
        let search = Search {
            pattern: Pattern::parse(plain)?,
            folders: !deep,
            depth: if deep { DEEPEST } else { depth },
        };
        search.folder(
            base,
            base.split('/').filter(|part| !part.is_empty()).count(),
            &mut found,
        );
    }
    Ok(found)
}

/// The part of a pattern that names one folder.
fn literal_folder(pattern: &str) -> &str {
    let end = pattern.find(['*', '?', '[', '\\']).unwrap_or(pattern.len());
    let end = pattern.get(..end).and_then(|start| start.rfind('/'));
    match end {
        Some(0) => "/",
        Some(end) => pattern.get(..end).unwrap_or_default(),
        None => "",
    }
}

struct Search {
    pattern: Pattern,
    folders: bool,
    depth: usize,
}

impl Search {
    fn folder(&self, folder: &str, depth: usize, found: &mut Vec<String>) {
        let place = if folder.is_empty() { "." } else { folder };
        // What cannot be read holds nothing that could be tested.
        for entry in fs::read_dir(Path::new(place))
            .into_iter()
            .flatten()
            .flatten()
        {
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            let path = match folder {
                "" => name,
                _ => format!("{}/{name}", folder.trim_end_matches('/')),
            };
            // A link is a file here, so that nothing is walked in a circle.
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if (self.folders || !is_folder) && self.pattern.matches(&path) {
                found.push(path.clone());
            }
            if is_folder && depth + 1 < self.depth {
                self.folder(&path, depth + 1, found);
            }
        }
    }
}

/// `a{b,c{d,e}}` → `ab`, `acd`, `ace`.
fn alternatives(pattern: &str) -> Result<Vec<String>, String> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_owned()];
    while let Some(text) = open.pop() {
        match first_braces(&text) {
            None => done.push(text),
            Some((start, end, commas)) => {
                let mut from = start + 1;
                for to in commas.into_iter().chain([end]) {
                    let (head, tail) = (&text[..start], &text[end + 1..]);
                    open.push(format!("{head}{}{tail}", &text[from..to]));
                    from = to + 1;
                }
            }
        }
        if done.len() + open.len() > MOST_ALTERNATIVES {
            return Err(format!(
                "the braces of {pattern} stand for too many patterns"
            ));
        }
    }
    Ok(done)
}

/// Where the first braces open and close, and the commas between.
fn first_braces(text: &str) -> Option<(usize, usize, Vec<usize>)> {
    let mut depth = 0;
    let (mut start, mut commas) = (0, Vec::new());
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => {
                if depth == 0 {
                    start = at;
                }
                depth += 1;
            }
            ',' if depth == 1 => commas.push(at),
            '}' if depth == 1 => return Some((start, at, commas)),
            '}' if depth > 1 => depth -= 1,
            _ => {}
        }
    }
    None
}

/// A pattern without braces.
struct Pattern(Vec<Token>);

enum Token {
    Letter(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// `**`
    Everything,
    /// `**/`: any number of folders, also none.
    Folders,
    /// `[a-z]`, or `[^a-z]` for all but these.
    Class {
        these: Vec<(char, char)>,
        not: bool,
    },
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let letters: Vec<char> = text.chars().collect();
        let mut tokens = Vec::new();
        let mut at = 0;
        while let Some(letter) = letters.get(at).copied() {
            let at_start = at == 0 || letters.get(at - 1) == Some(&'/');
            let next = |ahead: usize| letters.get(at + ahead).copied();
            let (token, length) = match letter {
                '*' if next(1) == Some('*') && next(2) == Some('/') && at_start => {
                    (Token::Folders, 3)
                }
                '*' if next(1) == Some('*') => (Token::Everything, 2),
                '*' => (Token::Many, 1),
                '?' => (Token::One, 1),
                '\\' => match next(1) {
                    Some(letter) => (Token::Letter(letter), 2),
                    None => return Err(format!("the pattern {text} ends in a backslash")),
                },
                '[' => class(letters.get(at..).unwrap_or_default())
                    .ok_or_else(|| format!("the pattern {text} has an open bracket"))?,
                other => (Token::Letter(other), 1),
            };
            tokens.push(token);
            at += length;
        }
        Ok(Self(tokens))
    }

    /// Keeps the set of places in the pattern that the text can have led to, so that no pattern takes
    /// longer than its length times the text's.
    fn matches(&self, text: &str) -> bool {
        let end = self.0.len();
        let mut places = vec![false; end + 1];
        places[0] = true;
        self.skip_empty(&mut places, true);
        for letter in text.chars() {
            let mut after = vec![false; end + 1];
            for (at, token) in self.0.iter().enumerate() {
                if !places[at] {
                    continue;
                }
                match token {
                    Token::Letter(wanted) => after[at + 1] |= *wanted == letter,
                    Token::One => after[at + 1] |= letter != '/',
                    Token::Many => after[at] |= letter != '/',
                    Token::Everything => after[at] = true,
                    Token::Folders => {
                        after[at] = true;
                        after[at + 1] |= letter == '/';
                    }
                    Token::Class { these, not } => {
                        let inside = these
                            .iter()
                            .any(|(low, high)| (*low..=*high).contains(&letter));
                        after[at + 1] |= letter != '/' && inside != *not;
                    }
                }
            }
            self.skip_empty(&mut after, letter == '/');
            places = after;
        }
        places[end]
    }

    /// Places that can be left without a letter.
    fn skip_empty(&self, places: &mut [bool], at_folder: bool) {
        for (at, token) in self.0.iter().enumerate() {
            let empty = match token {
                Token::Many | Token::Everything => true,
                Token::Folders => at_folder,
                _ => false,
            };
            if empty && places[at] {
                places[at + 1] = true;
            }
        }
    }
}

fn class(letters: &[char]) -> Option<(Token, usize)> {
    let mut at = 1;
    let not = matches!(letters.get(at), Some('^' | '!'));
    at += usize::from(not);
    let mut these = Vec::new();
    loop {
        match (letters.get(at)?, letters.get(at + 1), letters.get(at + 2)) {
            (']', ..) if !these.is_empty() => return Some((Token::Class { these, not }, at + 1)),
            (low, Some('-'), Some(high)) if *high != ']' => {
                these.push((*low, *high));
                at += 3;
            }
            (one, ..) => {
                these.push((*one, *one));
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pattern: &str, path: &str) -> bool {
        let plain = alternatives(pattern).unwrap();
        plain
            .iter()
            .any(|plain| Pattern::parse(plain).unwrap().matches(path))
    }

    #[test]
    fn patterns_name_what_they_say() {
        for (pattern, yes, no) in [
            (
                "*.rb",
                vec!["a.rb", ".rb", ".a.rb"],
                vec!["a/b.rb", "a.rbx"],
            ),
            ("a/*/c", vec!["a/b/c"], vec!["a/c", "a/b/b/c"]),
            (
                "**/*.java",
                vec!["A.java", "x/A.java", "x/y/A.java"],
                vec!["A.jav", "x/A.java/b"],
            ),
            (
                "spec/**/*_spec.rb",
                vec!["spec/a_spec.rb", "spec/x/y/a_spec.rb"],
                vec!["a_spec.rb"],
            ),
            (
                "spec/**",
                vec!["spec/a", "spec/a/b"],
                vec!["spec", "specs/a"],
            ),
            ("a**z", vec!["az", "a/b/z", "abcz"], vec!["a", "z"]),
            (
                "t?.py",
                vec!["t1.py", "tä.py"],
                vec!["t.py", "t/.py", "t12.py"],
            ),
            ("[a-c]x", vec!["ax", "cx"], vec!["dx", "/x"]),
            ("[^a-c]x", vec!["dx"], vec!["ax", "/x"]),
            ("[]a]x", vec!["]x", "ax"], vec!["bx"]),
            (
                "{a,b/{c,d}}.js",
                vec!["a.js", "b/c.js", "b/d.js"],
                vec!["b.js", "{a.js"],
            ),
            ("x{,.min}.js", vec!["x.js", "x.min.js"], vec!["x.max.js"]),
            ("a\\*b", vec!["a*b"], vec!["aXb"]),
            ("**", vec!["a", "a/b"], vec![]),
        ] {
            for path in yes {
                assert!(named(pattern, path), "{pattern} names {path}");
            }
            for path in no {
                assert!(!named(pattern, path), "{pattern} does not name {path}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for pattern in ["a[b", "a\\", "[", "[^"] {
            assert!(find(pattern).is_err(), "{pattern}");
        }
        assert!(find(&"{a,b}".repeat(20)).unwrap_err().contains("too many"));
    }

    #[test]
    fn no_pattern_takes_long() {
        let pattern = Pattern::parse(&"*a**b".repeat(50)).unwrap();
        assert!(!pattern.matches(&"a".repeat(2000)));
    }

    #[test]
    fn the_search_starts_where_the_pattern_does() {
        for (pattern, folder) in [
            ("a/b/*.c", "a/b"),
            ("*.c", ""),
            ("/tmp/x*", "/tmp"),
            ("/*", "/"),
            ("a/b", "a"),
            ("a[b]/c", ""),
        ] {
            assert_eq!(literal_folder(pattern), folder, "{pattern}");
        }
    }
}
