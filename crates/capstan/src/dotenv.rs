//! Files of variables: `NAME=value` a line, as `--env-file` and `--context` take them.
//!
//! Blank lines and lines that start with `#` say nothing; `export ` before a name is allowed. A value
//! may stand in single quotes (taken as it is) or in double quotes (`\n`, `\t`, `\"`, `\\` and `\$`
//! are read), and may then span lines. An unquoted value ends at ` #`. Nothing is expanded.

use std::path::Path;

use capstan_model::Secret;

/// Variables in order; a later one of the same name replaces the earlier.
pub type Variables = Vec<(String, Secret<String>)>;

/// Reads a file of variables.
///
/// # Errors
/// The file cannot be read, or a line is not a variable; says `file:line`. Never shows a value.
pub fn read(path: &Path) -> Result<Variables, String> {
    let name = path.display();
    let text = std::fs::read(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let text = String::from_utf8(text).map_err(|_| format!("{name} is not UTF-8 text"))?;
    parse(&text).map_err(|error| format!("{name}:{}: {}", error.line, error.what))
}

/// A line that is not a variable.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// What is wrong with it, without its value.
    pub what: String,
}

/// Parses the text of such a file.
///
/// # Errors
/// The first line that is not a variable.
pub fn parse(text: &str) -> Result<Variables, BadLine> {
    let mut variables = Variables::new();
    let mut rest = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let mut line = 1;
    while !rest.is_empty() {
        let (current, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let entry = current.trim();
        if entry.is_empty() || entry.starts_with('#') {
            rest = after;
            line += 1;
            continue;
        }
        let bad = |what: String| BadLine { line, what };
        let unexported = entry.strip_prefix("export ").unwrap_or(entry).trim_start();
        let (name, _) = unexported
            .split_once('=')
            .ok_or_else(|| bad(String::from("expected NAME=value")))?;
        let name = name.trim_end();
        check_name(name).map_err(bad)?;
        // The value is cut from the whole rest of the file: a quoted one may span lines.
        let (_, from_value) = rest.split_once('=').unwrap_or((rest, ""));
        let (value, end) = value(from_value).map_err(bad)?;
        let consumed = rest.len() - from_value.len() + end;
        line += rest
            .get(..consumed)
            .unwrap_or_default()
            .matches('\n')
            .count();
        rest = rest.get(consumed..).unwrap_or_default();
        put(&mut variables, name, value);
    }
    Ok(variables)
}

/// Sets a variable, in place of an earlier one of its name.
pub fn put(variables: &mut Variables, name: &str, value: String) {
    variables.retain(|(known, _)| known != name);
    variables.push((name.to_owned(), Secret::new(value)));
}

/// Whether a name is one a shell can use.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    let mut characters = name.chars();
    let first = characters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && characters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no variable name; use letters, digits and _, not starting with a digit"
    ))
}

/// A value and the number of bytes it took, its line end included.
fn value(text: &str) -> Result<(String, usize), String> {
    let line_end = |from: usize| {
        text.get(from..)
            .and_then(|rest| rest.find('\n'))
            .map_or(text.len(), |at| from + at + 1)
    };
    let blanks = text.len() - text.trim_start_matches([' ', '\t']).len();
    let inner = text.get(blanks..).unwrap_or_default();
    let (value, close) = match inner.chars().next() {
        Some('\'') => {
            let body = inner.get(1..).unwrap_or_default();
            let close = body.find('\'').ok_or("the quote ' is never closed")?;
            (
                body.get(..close).unwrap_or_default().to_owned(),
                blanks + close + 2,
            )
        }
        Some('"') => {
            let (value, length) = double_quoted(inner)?;
            (value, blanks + length)
        }
        _ => {
            let line = text.split('\n').next().unwrap_or_default();
            let end = line.find(" #").unwrap_or(line.len());
            let value = line.get(..end).unwrap_or_default().trim().to_owned();
            return Ok((value, line_end(0)));
        }
    };
    let tail = text.get(close..line_end(close)).unwrap_or_default().trim();
    if !tail.is_empty() && !tail.starts_with('#') {
        return Err(String::from("there is text after the closing quote"));
    }
    Ok((value, line_end(close)))
}

fn double_quoted(text: &str) -> Result<(String, usize), String> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, at + 1)),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, plain @ ('"' | '\\' | '$' | '`'))) => value.push(plain),
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err(String::from("the quote \" is never closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(text: &str) -> Result<Vec<(String, String)>, BadLine> {
        let variables = parse(text)?;
        Ok(variables
            .iter()
            .map(|(name, value)| (name.clone(), value.expose().clone()))
            .collect())
    }

    #[test]
    fn values_are_read_as_written() {
        let cases = [
            ("A=1", "1"),
            ("A=", ""),
            ("A = b c ", "b c"),
            ("export A=x", "x"),
            ("A=b # note", "b"),
            ("A=b#c", "b#c"),
            ("A='b # $X' # note", "b # $X"),
            ("A=\"b\\n\\\"c\\\" \\$d\"", "b\n\"c\" $d"),
            ("A=\"one\ntwo\"", "one\ntwo"),
            ("A=x=y", "x=y"),
            ("\u{FEFF}A=1\r\n", "1"),
            ("A=0\nA=1", "1"),
        ];
        for (text, value) in cases {
            assert_eq!(
                read_all(text).unwrap(),
                [("A".to_owned(), value.to_owned())],
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_bad_line_is_named_and_its_value_is_not() {
        let cases = [
            ("A=1\n\nnonsense\n", 3, "expected NAME=value"),
            ("# x\n1A=secret\n", 2, "\"1A\" is no variable name"),
            ("A='a\nb'\nB='open\n", 3, "the quote ' is never closed"),
            ("A=\"open\n", 1, "the quote \" is never closed"),
            ("A='x' y\n", 1, "there is text after the closing quote"),
        ];
        for (text, line, what) in cases {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}");
            assert!(error.what.starts_with(what), "{text:?}: {}", error.what);
            assert!(!error.what.contains("secret"));
        }
    }
}
