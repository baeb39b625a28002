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
    use super::split;

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
