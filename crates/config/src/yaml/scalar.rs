//! Plain scalars by the rules of YAML 1.1, as far as configs rely on them (language 1.2).

use super::Value;

/// The value of a plain scalar.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return Value::Bool(true);
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    if let Some(n) = integer(text) {
        return Value::Int(n);
    }
    float(text).map_or_else(|| Value::Str(text.into()), Value::Float)
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
    text.replace('_', "").parse().ok()
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
    use super::{Value, plain};

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
            let value: Value = plain(text);
            assert_eq!(
                (value.kind(), value.text().as_deref()),
                (kind, Some(shown)),
                "{text}"
            );
        }
    }
}
