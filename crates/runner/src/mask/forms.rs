//! The forms in which a value turns up in logs.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use super::finder::GRAM;
use super::view::View;

/// Values shorter than this are left readable (so are `true` and `false`).
const SHORTEST: usize = 4;
/// Lines of a multi-line value from this length on are masked by themselves.
const SHORTEST_LINE: usize = 6;
/// Longer values are masked in pieces of this many bytes, a whole number of groups of base64 and base32.
const LONGEST: usize = 3840;

/// Every form of a value, ready for matching against text without escapes; empty for a value that is
/// not masked.
pub(super) fn of(secret: &str) -> Vec<Vec<u8>> {
    if secret.chars().count() < SHORTEST || matches!(secret, "true" | "True" | "false" | "False") {
        return Vec::new();
    }
    let mut bases = vec![secret.to_owned()];
    let unix = secret.replace("\r\n", "\n");
    let trimmed = unix.trim_end_matches('\n');
    if unix.contains('\n') {
        let lines: Vec<&str> = trimmed.split('\n').collect();
        bases.push(lines.join("\r\n"));
        bases.push(lines.concat());
        bases.push(lines.join(" "));
        bases.push(trimmed.to_owned());
        bases.extend(
            lines
                .iter()
                .filter(|l| l.chars().count() >= SHORTEST_LINE)
                .map(|l| (*l).to_owned()),
        );
        bases.push(unix);
    }
    let mut found = Vec::new();
    for piece in bases.iter().flat_map(|base| pieces(base)) {
        encode(piece, &mut found);
    }
    for form in &mut found {
        *form = View::without_escapes(form).bytes.into_owned();
    }
    found.retain(|form| form.len() >= GRAM);
    found.sort_unstable();
    found.dedup();
    found
}

/// A long value is masked piece by piece: patterns without a bound would be a search without one.
fn pieces(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = text;
    while rest.len() > LONGEST {
        let mut at = LONGEST;
        while !rest.is_char_boundary(at) {
            at -= 1;
        }
        let (piece, later) = rest.split_at(at);
        all.push(piece);
        rest = later;
    }
    // A few last characters say nothing, and would be found everywhere.
    if all.is_empty() || rest.len() >= SHORTEST_LINE {
        all.push(rest);
    }
    all
}

fn encode(text: &str, out: &mut Vec<Vec<u8>>) {
    let bytes = text.as_bytes();
    out.push(bytes.to_vec());
    base64_forms(bytes, out);
    for once in [bytes.to_vec(), [bytes, b"\n"].concat()].map(|text| STANDARD.encode(text)) {
        for width in [64, 76] {
            if once.len() > width {
                let lines = chunks(&once, width).join("\n");
                base64_forms(lines.as_bytes(), out);
            }
        }
        base64_forms(once.as_bytes(), out);
    }
    base32_forms(bytes, out);
    each(bytes, out, |b| format!("{b:02x}"), "");
    each(bytes, out, |b| format!("{b:02X}"), "");
    for separator in [":", " "] {
        each(bytes, out, |b| format!("{b:02x}"), separator);
        each(bytes, out, |b| format!("{b:02X}"), separator);
    }
    percent_forms(bytes, out);
    html_forms(text, out);
    escape_forms(text, out);
    each(bytes, out, |b| format!("={b:02X}"), "");
    quoted_printable(bytes, out);
    out.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
    out.push(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
}

fn each(bytes: &[u8], out: &mut Vec<Vec<u8>>, one: impl Fn(&u8) -> String, separator: &str) {
    out.push(
        bytes
            .iter()
            .map(one)
            .collect::<Vec<_>>()
            .join(separator)
            .into_bytes(),
    );
}

/// Base64 of the value by itself and inside longer text: at each of the three alignments, only the
/// characters that the value alone decides. Line ends inside are left out of what is searched.
fn base64_forms(bytes: &[u8], out: &mut Vec<Vec<u8>>) {
    for engine in [&STANDARD, &URL_SAFE] {
        out.push(engine.encode(bytes).into_bytes());
    }
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        out.push(engine.encode(bytes).into_bytes());
        inside_longer_text(bytes, 6, |text| engine.encode(text), out);
    }
}

/// Base32 in the same way, at each of its five alignments.
fn base32_forms(bytes: &[u8], out: &mut Vec<Vec<u8>>) {
    // The unpadded form is found inside the padded one.
    out.push(base32(bytes).to_lowercase().into_bytes());
    out.push(base32(bytes).into_bytes());
    inside_longer_text(bytes, 5, base32, out);
    inside_longer_text(bytes, 5, |text| base32(text).to_lowercase(), out);
}

/// What an encoding of `bits` per character makes of the value wherever it stands in a longer text,
/// without the characters at its ends that its neighbours share in.
fn inside_longer_text(
    bytes: &[u8],
    bits: usize,
    encode: impl Fn(&[u8]) -> String,
    out: &mut Vec<Vec<u8>>,
) {
    // Three bytes are four characters of six bits, five bytes are eight of five.
    let alignments = if bits == 6 { 3 } else { 5 };
    for before in 0..alignments {
        let padded = [vec![0; before], bytes.to_vec()].concat();
        let all = encode(&padded);
        let start = (before * 8).div_ceil(bits);
        let end = padded.len() * 8 / bits;
        if let Some(inner) = all.get(start..end) {
            out.push(inner.as_bytes().to_vec());
        }
    }
}

fn chunks(ascii: &str, width: usize) -> Vec<String> {
    ascii
        .as_bytes()
        .chunks(width)
        .map(|c| String::from_utf8_lossy(c).into_owned())
        .collect()
}

fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::new();
    for group in bytes.chunks(5) {
        let mut value = 0_u64;
        for at in 0..5 {
            value = value << 8 | u64::from(group.get(at).copied().unwrap_or(0));
        }
        for digit in 0..(group.len() * 8).div_ceil(5) {
            let index = value >> (35 - 5 * digit) & 31;
            text.push(char::from(ALPHABET[usize::try_from(index).unwrap_or(0)]));
        }
    }
    text
}

fn percent_forms(bytes: &[u8], out: &mut Vec<Vec<u8>>) {
    type Keep = fn(u8) -> bool;
    let strict: Keep = |b| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    let form: Keep = |b| b.is_ascii_alphanumeric() || b"-._*".contains(&b);
    let unreserved: Keep = |b| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let component: Keep = |b| b.is_ascii_alphanumeric() || b"-._~!*'()".contains(&b);
    let path: Keep = |b| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let whole: Keep = |b| b.is_ascii_alphanumeric() || b"-._~!*'();/?:@&=+$,#".contains(&b);
    let nothing: Keep = |_| false;
    for keep in [strict, form, unreserved, component, path, whole, nothing] {
        for upper in [true, false] {
            let once = percent(bytes, keep, upper);
            out.push(percent(once.as_bytes(), keep, upper).into_bytes());
            out.push(once.replace("%20", "+").into_bytes());
            out.push(once.into_bytes());
        }
    }
}

fn percent(bytes: &[u8], keep: fn(u8) -> bool, upper: bool) -> String {
    let mut text = String::new();
    for byte in bytes {
        if keep(*byte) {
            text.push(char::from(*byte));
        } else if upper {
            let _ = write!(text, "%{byte:02X}");
        } else {
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text
}

fn html_forms(text: &str, out: &mut Vec<Vec<u8>>) {
    for quote in ["&#39;", "&apos;", "&#x27;", "&#039;", "'"] {
        for double in ["&quot;", "&#34;", "\""] {
            let named = text
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', double)
                .replace('\'', quote);
            out.push(named.into_bytes());
        }
    }
    let all = |one: fn(char) -> String| text.chars().map(one).collect::<String>().into_bytes();
    out.push(all(|c| format!("&#{};", u32::from(c))));
    out.push(all(|c| format!("&#x{:x};", u32::from(c))));
    out.push(all(|c| format!("&#x{:X};", u32::from(c))));
}

fn escape_forms(text: &str, out: &mut Vec<Vec<u8>>) {
    // JSON, YAML in double quotes, `$'…'`, C and Python agree on the simple escapes.
    let simple = |c: char| match c {
        '\\' => Some("\\\\"),
        '\n' => Some("\\n"),
        '\r' => Some("\\r"),
        '\t' => Some("\\t"),
        _ => None,
    };
    for quotes in ["\"", "'", "\"'", "\"/", ""] {
        for ascii in [true, false] {
            let mut escaped = String::new();
            for c in text.chars() {
                match simple(c) {
                    Some(escape) => escaped.push_str(escape),
                    None if quotes.contains(c) => escaped.extend(['\\', c]),
                    None if ascii && !c.is_ascii() => utf16_escape(c, &mut escaped, false),
                    None => escaped.push(c),
                }
            }
            out.push(escaped.into_bytes());
        }
    }
    for upper in [false, true] {
        let mut all = String::new();
        for c in text.chars() {
            utf16_escape(c, &mut all, upper);
        }
        out.push(all.into_bytes());
    }
    let bytes = text.as_bytes();
    each(bytes, out, |b| format!("\\x{b:02x}"), "");
    each(bytes, out, |b| format!("\\x{b:02X}"), "");
    each(bytes, out, |b| format!("\\{b:03o}"), "");
    each(bytes, out, |b| format!("\\0{b:03o}"), "");
    // What C and Python's bytes print: only what is not ASCII is escaped.
    for octal in [true, false] {
        let mut mixed = String::new();
        for b in bytes {
            match (b, simple(char::from(*b))) {
                (_, Some(escape)) => mixed.push_str(escape),
                (0x20..=0x7e, None) => mixed.push(char::from(*b)),
                _ if octal => mixed.push_str(&format!("\\{b:03o}")),
                _ => mixed.push_str(&format!("\\x{b:02x}")),
            }
        }
        out.push(mixed.into_bytes());
    }
    out.push(text.replace('\'', "'\\''").into_bytes());
    out.push(text.replace('\'', "'\"'\"'").into_bytes());
    out.push(text.replace('\'', "''").into_bytes());
    let bash_q: String = text
        .chars()
        .flat_map(|c| {
            let plain = c.is_alphanumeric() || "_-./:=@%+,".contains(c) || !c.is_ascii();
            let comma = c == ',';
            [(!plain || comma).then_some('\\'), Some(c)]
                .into_iter()
                .flatten()
        })
        .collect();
    out.push(bash_q.into_bytes());
}

fn utf16_escape(c: char, out: &mut String, upper: bool) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        let _ = if upper {
            write!(out, "\\u{unit:04X}")
        } else {
            write!(out, "\\u{unit:04x}")
        };
    }
}

/// Quoted-printable as mailers write it, with soft line ends at 76 columns.
fn quoted_printable(bytes: &[u8], out: &mut Vec<Vec<u8>>) {
    let (mut plain, mut soft, mut column) = (String::new(), String::new(), 0);
    for byte in bytes {
        let unit = match byte {
            b'\n' | b' ' | b'\t' => char::from(*byte).to_string(),
            0x21..=0x7e if *byte != b'=' => char::from(*byte).to_string(),
            _ => format!("={byte:02X}"),
        };
        if column + unit.len() > 75 {
            soft.push_str("=\n");
            column = 0;
        }
        column = if *byte == b'\n' {
            0
        } else {
            column + unit.len()
        };
        plain.push_str(&unit);
        soft.push_str(&unit);
    }
    out.push(plain.into_bytes());
    out.push(soft.into_bytes());
}
