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
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_special(c) => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
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
