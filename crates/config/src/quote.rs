//! Scalars in double quotes, as every YAML reader takes them.

use std::fmt::Write as _;

/// Characters that YAML reads as line breaks, or not at all.
pub(crate) fn is_special(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// Appends a text in double quotes.
pub(crate) fn quoted(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some((at, c)) = escaped(rest) {
        out.push_str(rest.get(..at).unwrap_or(""));
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
        }
        rest = rest.get(at + c.len_utf8()..).unwrap_or("");
    }
    out.push_str(rest);
    out.push('"');
}

/// The first character that cannot stand between quotes as it is, with its place.
fn escaped(text: &str) -> Option<(usize, char)> {
    let usual = |b: u8| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\';
    let start = text.bytes().position(|b| !usual(b))?;
    let rest = text.get(start..)?;
    let wants = |c: char| c == '"' || c == '\\' || is_special(c);
    let (at, c) = rest.char_indices().find(|(_, c)| wants(*c))?;
    Some((start + at, c))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn what_yaml_would_read_otherwise_is_escaped() {
        let table = [
            ("plain", "\"plain\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("\n\t\r", "\"\\n\\t\\r\""),
            ("\u{2028}\u{ffff}\u{1}", "\"\\u2028\\uffff\\u0001\""),
        ];
        for (text, expected) in table {
            let mut out = String::new();
            quoted(&mut out, text);
            assert_eq!(out, expected);
        }
    }
}
