//! Which program a `run` step is given to (language 6.11, platform 2.5).

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use capstan_model::plan::Shell;

/// A script longer than this goes through a file: one argument may have 128 KiB on Linux.
pub(crate) const LONGEST_ARGUMENT: usize = 100 << 10;

/// Program and arguments of a shell; the default one when nothing is asked for.
pub(crate) fn words(wanted: Option<&Shell>) -> Result<Vec<String>, String> {
    let words = match wanted {
        None => return Ok(default()),
        Some(Shell::List(words)) => words.clone(),
        Some(Shell::Line(line)) => split(line)?,
    };
    if words.is_empty() {
        Err(String::from("the shell is an empty text"))
    } else {
        Ok(words)
    }
}

/// Shells, and Python, which has the same option.
const DASH_C: &[&str] = &[
    "sh", "bash", "dash", "ash", "ksh", "mksh", "yash", "zsh", "fish", "csh", "tcsh", "busybox",
    "python", "pypy", "pwsh", "xonsh", "nu",
];
/// Interpreters of which `-c` means something else, such as "only check".
const DASH_E: &[&str] = &["node", "nodejs", "bun", "perl", "ruby", "lua"];

/// The option after which a shell takes its script as an argument. With none the script goes to it as a
/// file. As an argument is better where it can be: what a script loads by a relative path is then looked
/// for in the step's directory, not beside a file of ours.
pub(crate) fn code_option(words: &[String]) -> Option<&'static str> {
    let name = program(words)?;
    let known = |names: &[&str]| names.contains(&name);
    match () {
        () if known(DASH_C) => Some("-c"),
        () if known(DASH_E) => Some("-e"),
        () => None,
    }
}

/// Name of the program that is run in the end, without its version: `python` for
/// `/usr/bin/env -S python3.12 -u`.
fn program(words: &[String]) -> Option<&str> {
    let mut words = words.iter().map(String::as_str);
    let mut first = file_name(words.next()?);
    if first == "env" {
        let word = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
        first = file_name(word);
    }
    Some(first.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.'))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn default() -> Vec<String> {
    static DEFAULT: OnceLock<Vec<String>> = OnceLock::new();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    DEFAULT
        .get_or_init(|| match () {
            () if Path::new("/bin/bash").exists() => words("/bin/bash -eo pipefail"),
            () if knows_pipefail() => words("/bin/sh -eo pipefail"),
            // A plain POSIX shell refuses the option, and with it every script.
            () => words("/bin/sh -e"),
        })
        .clone()
}

fn knows_pipefail() -> bool {
    let mut probe = Command::new("/bin/sh");
    probe.args(["-o", "pipefail", "-c", ":"]);
    probe
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Splits a line at blanks; quotes and backslashes keep blanks, as in a shell.
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (_, Some(open)) if letter == open => quote = None,
            ('\\', None | Some('"')) => {
                let next = letters.next().ok_or("the shell ends in a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (' ' | '\t' | '\n', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(format!("the shell {line:?} has an open quote"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::{code_option, split};

    #[test]
    fn each_shell_gets_its_script_in_the_way_it_takes_it() {
        for (line, option) in [
            ("/bin/bash -eo pipefail", Some("-c")),
            ("sh", Some("-c")),
            ("/usr/bin/env python3", Some("-c")),
            ("env -S A=1 python3.12 -u", Some("-c")),
            ("node", Some("-e")),
            ("/usr/bin/perl -w", Some("-e")),
            ("ruby", Some("-e")),
            ("awk -f", None),
            ("my-interpreter", None),
            ("env", None),
        ] {
            assert_eq!(code_option(&split(line).unwrap()), option, "{line}");
        }
    }

    #[test]
    fn lines_are_split_as_a_shell_does() {
        let cases: [(&str, &[&str]); 5] = [
            ("/bin/bash -eo pipefail", &["/bin/bash", "-eo", "pipefail"]),
            ("  a   b ", &["a", "b"]),
            ("'a b' \"c d\"", &["a b", "c d"]),
            ("a\\ b ''", &["a b", ""]),
            ("", &[]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
        assert!(split("bash 'x").is_err());
    }
}
