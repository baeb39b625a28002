//! Plain scalars by the rules of YAML 1.1, as far as configs rely on them (language 1.2).

use super::Value;

/// The value of a plain scalar that is not a string. Most are strings, which the first byte tells.
pub(super) fn typed(text: &str) -> Option<Value> {
    match text.as_bytes() {
        [] | [b'~'] => Some(Value::Null),
        [b'0'..=b'9' | b'+' | b'-' | b'.', ..] => number(text),
        [
            b'n' | b'N' | b't' | b'T' | b'y' | b'Y' | b'o' | b'O' | b'f' | b'F',
            ..,
        ] => word(text),
        _ => None,
    }
}

fn word(text: &str) -> Option<Value> {
    match text {
        "null" | "Null" | "NULL" => Some(Value::Null),
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            Some(Value::Bool(true))
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            Some(Value::Bool(false))
        }
        _ => None,
    }
}

fn number(text: &str) -> Option<Value> {
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Some(Value::Float(f64::INFINITY)),
        "-.inf" | "-.Inf" | "-.INF" => return Some(Value::Float(f64::NEG_INFINITY)),
        ".nan" | ".NaN" | ".NAN" => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    integer(text)
        .map(Value::Int)
        .or_else(|| float(text).map(Value::Float))
}

fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = if let Some(rest) = digits.strip_prefix("0o") {
        (8, rest)
    } else if let Some(rest) = digits.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = digits.strip_prefix("0b") {
        (2, rest)
    } else if digits.len() > 1 && digits.starts_with('0') {
        (8, digits)
    } else {
        (10, digits)
    };
    if digits.is_empty()
        || digits.starts_with('_')
        || !digits.chars().all(|c| c == '_' || c.is_digit(radix))
    {
        return None;
    }
    if radix == 10 && !digits.contains('_') {
        return text.parse().ok();
    }
    let digits = digits.replace('_', "");
    let signed = if negative {
        format!("-{digits}")
    } else {
        digits
    };
    i64::from_str_radix(&signed, radix).ok()
}

fn float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let starts = digits.starts_with(|c: char| c.is_ascii_digit())
        || (digits.starts_with('.') && digits.chars().nth(1).is_some_and(|c| c.is_ascii_digit()));
    let octal = digits.len() > 1
        && digits.starts_with('0')
        && digits.chars().all(|c| c.is_ascii_digit() || c == '_');
    let allowed = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-' | '_');
    if !starts || octal || !digits.chars().all(allowed) {
        return None;
    }
    if text.contains('_') {
        return text.replace('_', "").parse().ok();
    }
    text.parse().ok()
}

/// The shortest text of a float that reads as a float again: `3.10` is `3.1`, `14.0` stays.
pub(super) fn float_text(f: f64) -> String {
    if f.is_nan() {
        return String::from(".nan");
    }
    if f.is_infinite() {
        return String::from(if f > 0.0 { ".inf" } else { "-.inf" });
    }
    format!("{f:?}")
}

#[cfg(test)]
mod tests {
    use super::{Value, typed};

    #[test]
    fn plain_scalars_have_the_types_configs_rely_on() {
        let table = [
            ("on", "boolean", "true"),
            ("y", "string", "y"),
            ("017", "integer", "15"),
            ("08", "string", "08"),
            ("0x1F", "integer", "31"),
            ("0b11", "integer", "3"),
            ("1_000", "integer", "1000"),
            ("22:22", "string", "22:22"),
            ("3.10", "float", "3.1"),
            ("14.0", "float", "14.0"),
            ("2019-01-01", "string", "2019-01-01"),
            ("-", "string", "-"),
            ("1.2.3", "string", "1.2.3"),
        ];
        for (text, kind, shown) in table {
            let value = typed(text).unwrap_or_else(|| Value::Str(text.into()));
            assert_eq!(
                (value.kind(), value.text().as_deref()),
                (kind, Some(shown)),
                "{text}"
            );
        }
    }
}
