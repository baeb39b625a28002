//! Mutations that know what a config looks like: blocks of lines by their indentation, keys, scalars,
//! anchors, tags; and bytes, for what no person would write.

use crate::rng::Rng;

/// Scalars that are easily misread.
const TRAPS: &[&str] = &[
    "on",
    "no",
    "~",
    "",
    "null",
    "1e9",
    "1e999",
    "0o17",
    "017",
    "0x7fffffffffffffffff",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    ".nan",
    "-.inf",
    "<<",
    "<< >>",
    "\"\"",
    "''",
    "[]",
    "{}",
    "{a: {}}",
    "[[[[]]]]",
    "!!str 1",
    "&x",
    "*x",
    "|",
    ">-",
    "2.1",
    "2",
    "true",
    "false",
    "12:30:45",
    "_",
    "/.*/",
    "/(/",
    "/(a*)*b/",
    "/^(?!main$).*$/",
    "/(?:(?:a{99}){99}){99}/",
    "/\\p{L}{500}/",
    "<< pipeline.git.branch >>",
    "<< pipeline.parameters.x >>",
    "<< parameters.x >>",
    "<< matrix.x >>",
    "<< pipeline.nothing >>",
    "<< parameters.x >><< parameters.x >>",
    "<<# parameters.x >>a<</ parameters.x >>",
    "\\<< x >>",
    "pipeline.git.branch == \"main\" and not (1 > 2)",
    "\u{feff}",
    "\"\\u0000\"",
    "\u{202e}é\u{1f980}",
];

/// Words of the language, to stand where another one stood.
const WORDS: &[&str] = &[
    "version",
    "setup",
    "orbs",
    "parameters",
    "executors",
    "commands",
    "jobs",
    "job-groups",
    "workflows",
    "docker",
    "machine",
    "macos",
    "image",
    "executor",
    "steps",
    "run",
    "command",
    "name",
    "when",
    "unless",
    "condition",
    "type",
    "default",
    "enum",
    "environment",
    "requires",
    "filters",
    "branches",
    "tags",
    "only",
    "ignore",
    "matrix",
    "exclude",
    "alias",
    "context",
    "pre-steps",
    "post-steps",
    "serial-group",
    "override-with",
    "and",
    "or",
    "not",
    "equal",
    "matches",
    "pattern",
    "value",
    "triggers",
    "schedule",
    "cron",
    "max_auto_reruns",
    "checkout",
    "save_cache",
    "restore_cache",
    "key",
    "keys",
    "paths",
    "parallelism",
    "resource_class",
    "shell",
    "build",
    "approval",
    "no-op",
    "release",
    "lock",
    "string",
    "boolean",
    "integer",
    "env_var_name",
    "<<",
];

/// Longest text that comes of mutations, in bytes.
const LONGEST: usize = 256 * 1024;

/// Applies a few mutations; `other` is a text to take blocks from.
pub fn mutate(rng: &mut Rng, text: &str, other: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=rng.below(4) {
        lines_once(rng, &mut lines, other);
    }
    let mut text = lines.join("\n");
    text.push('\n');
    if rng.chance(15) {
        text = noise(rng, &text);
    }
    // Mutations of mutations can repeat what was repeated.
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

/// A few lines of a text, with small changes of what gives them their structure.
pub fn excerpt(rng: &mut Rng, text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = rng.below(lines.len());
    let long = 1 + rng.below(12);
    let taken: Vec<&str> = lines.iter().skip(from).take(long).copied().collect();
    let blanks = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let filled = taken.iter().filter(|line| !line.trim().is_empty());
    let least = filled.map(|line| blanks(line)).min().unwrap_or(0);
    let mut excerpt = String::from(rng.pick(&["", "", "k:\n", "k: |\n", "i: &x\nk:\n", "- \n"]));
    for line in taken {
        excerpt.push_str(line.get(least..).unwrap_or(""));
        excerpt.push('\n');
    }
    for _ in 0..rng.below(4) {
        let at = excerpt.floor_char_boundary(rng.below(excerpt.len() + 1));
        let behind = excerpt.get(at..).unwrap_or("");
        match rng.below(4) {
            // A line is indented by one more, or one less.
            0 => {
                let line = behind.find('\n').map_or(0, |next| at + next + 1);
                if rng.chance(50) {
                    excerpt.insert(line, ' ');
                } else if excerpt
                    .get(line..)
                    .is_some_and(|rest| rest.starts_with(' '))
                {
                    excerpt.remove(line);
                }
            }
            1 if !behind.is_empty() => {
                excerpt.remove(at);
            }
            _ => excerpt.insert_str(at, rng.pick(SIGNS)),
        }
    }
    excerpt
}

/// What gives a text its structure.
const SIGNS: &[&str] = &[
    " ", " ", "  ", "\n", "\n", ":", ": ", ":\n", "- ", "-", "#", " #", " # c\n", "\t", "[", "]",
    "{", "}", ",", ", ", "\"", "'", "|", ">", " |\n", " >-\n", " |2\n", "&x ", " *x", "*x",
    "<<: *x\n", "? ", "\\", "\n\n", "!", "%", "...\n", "---\n", "a", "é",
];

/// A line with everything that is indented deeper behind it.
fn block(lines: &[String], at: usize) -> std::ops::Range<usize> {
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '-']).len();
    let Some(first) = lines.get(at) else {
        return 0..0;
    };
    let own = indent(first);
    let deeper = |line: &&String| line.trim().is_empty() || indent(line) > own;
    let more = lines.iter().skip(at + 1).take_while(deeper).count();
    at..at + 1 + more
}

fn lines_once(rng: &mut Rng, lines: &mut Vec<String>, other: &str) {
    let at = rng.below(lines.len());
    let here = block(lines, at);
    match rng.below(14) {
        0 => {
            lines.drain(here);
        }
        1 => {
            let again: Vec<String> = lines[here.clone()].to_vec();
            lines.splice(here.end..here.end, again);
        }
        2 => {
            let taken: Vec<String> = lines.drain(here).collect();
            let to = rng.below(lines.len() + 1);
            lines.splice(to..to, taken);
        }
        3 => {
            let deeper = rng.chance(50);
            for line in &mut lines[here] {
                if deeper {
                    line.insert_str(0, "  ");
                } else if let Some(less) = line.strip_prefix("  ") {
                    *line = less.to_owned();
                }
            }
        }
        4 => {
            let from: Vec<String> = other.lines().map(str::to_owned).collect();
            let taken = block(&from, rng.below(from.len()));
            lines.splice(at..at, from[taken].to_vec());
        }
        5 | 6 => scalar(rng, lines, at, |rng, _| rng.pick(TRAPS).to_owned()),
        7 => word(rng, lines, at),
        8 => {
            let name = rng.pick(&["x", "y", "z"]);
            scalar(rng, lines, at, |_, old| format!("&{name} {old}"));
        }
        9 => {
            let name = rng.pick(&["x", "y", "z"]);
            scalar(rng, lines, at, |_, _| format!("*{name}"));
        }
        10 => {
            let pad = lines.get(at).map_or(0, |line| {
                line.len() - line.trim_start_matches([' ', '-']).len()
            });
            let what = rng.pick(&[
                "<<: *x",
                "<<: [*x, *y]",
                "<<: {a: 1}",
                "? [a]\n: b",
                "parameters: {x: {type: steps, default: []}}",
                "matrix: {parameters: {x: [1, 2, 3], y: [a, b]}}",
                "filters: {branches: {only: /a|b/}}",
                "requires: [build, test]",
            ]);
            let line = format!("{}{what}", " ".repeat(pad));
            lines.insert(at.min(lines.len()), line);
        }
        11 => scalar(rng, lines, at, |rng, old| {
            let n = 1 + rng.below(80);
            format!("{}{old}{}", "[".repeat(n), "]".repeat(n))
        }),
        12 => scalar(rng, lines, at, |rng, old| {
            let n = often(1 + rng.below(2000), old);
            let items = vec![old; n].join(", ");
            format!("[{items}]")
        }),
        _ => scalar(rng, lines, at, |rng, old| {
            let old = old.trim_matches('"');
            old.repeat(often(1 + rng.below(200), old))
        }),
    }
}

/// How often a text is repeated, so that repeating what was repeated stays bounded.
fn often(n: usize, text: &str) -> usize {
    n.min(LONGEST / (text.len() + 2)).max(1)
}

/// Exchanges what stands behind the key of a line.
fn scalar(rng: &mut Rng, lines: &mut [String], at: usize, new: impl Fn(&mut Rng, &str) -> String) {
    let Some(line) = lines.get_mut(at) else {
        return;
    };
    let split = line
        .find(": ")
        .map(|at| at + 2)
        .or_else(|| line.find("- ").map(|at| at + 2))
        .unwrap_or(line.len());
    let (key, old) = line.split_at(split);
    let blank = if key.ends_with(':') { " " } else { "" };
    *line = format!("{key}{blank}{}", new(rng, old));
}

/// Exchanges a word of a line for another of the language.
fn word(rng: &mut Rng, lines: &mut [String], at: usize) {
    let Some(line) = lines.get_mut(at) else {
        return;
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let words: Vec<&str> = line.split(|c| !fits(c)).filter(|w| w.len() > 1).collect();
    let old = rng.pick(&words).to_owned();
    if !old.is_empty() {
        *line = line.replacen(&old, rng.pick(WORDS), 1);
    }
}

/// Bytes exchanged, taken away and put in, with what stays made into text again.
pub fn noise(rng: &mut Rng, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=rng.below(6) {
        let at = rng.below(bytes.len());
        match rng.below(5) {
            0 if !bytes.is_empty() => {
                bytes.remove(at);
            }
            1 if !bytes.is_empty() => bytes[at] = u8::try_from(rng.below(256)).unwrap_or(0),
            2 => {
                let odd = rng.pick(&[
                    "\u{0}", "\t", "\r", "\u{85}", "\u{2028}", "\u{feff}", "\u{fffe}", "é", "🦀",
                    "<<", ">>", "&x ", "*x ", "{", "}", "[", "]", ",", ": ", "- ", "#", "%", "!",
                    "\"", "'", "|\n", "...\n", "---\n", "\\",
                ]);
                bytes.splice(at..at, odd.bytes());
            }
            3 => bytes.truncate(at),
            _ => {
                let to = (at + rng.below(40)).min(bytes.len());
                let part = bytes[at.min(to)..to].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
