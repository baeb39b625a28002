//! Masking against encoders that are written here anew, the slow and obvious way: secrets in every form
//! that is promised, at random places of random text, cut at random, are gone; text without them comes
//! through as it is.

use super::Masker;

/// Encodes, with random choices where the form leaves any.
type Encoder = fn(&[u8], &mut Random) -> Form;

/// A secret in some form.
struct Form {
    text: Vec<u8>,
    /// What of it may not be readable in the output, line ends and escapes aside.
    core: Vec<u8>,
}

/// A small generator, so that a failure can be repeated from its seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % n
    }

    fn bytes(&mut self, from: &[u8], count: usize) -> Vec<u8> {
        (0..count).map(|_| from[self.below(from.len())]).collect()
    }
}

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// `bytes` as digits of so many bits, from the first bit that is asked for; a digit that is not whole
/// is filled up with zeros.
fn digits(bytes: &[u8], alphabet: &[u8], first_bit: usize) -> Vec<u8> {
    let bits = alphabet.len().ilog2() as usize;
    let all = bytes.len() * 8;
    let bit = |at: usize| {
        let byte = bytes.get(at / 8).copied().unwrap_or(0);
        usize::from(byte >> (7 - at % 8) & 1)
    };
    (first_bit..all)
        .step_by(bits)
        .map(|at| alphabet[(at..at + bits).fold(0, |digit, at| digit << 1 | bit(at))])
        .collect()
}

/// Inside a longer text that is encoded as a whole; the core is what the secret alone decides.
fn inside(secret: &[u8], alphabet: &[u8], random: &mut Random) -> Form {
    let bits = alphabet.len().ilog2() as usize;
    let count = random.below(90);
    let before = random.bytes(b"some user: \n\x00\xff", count);
    let count = random.below(90);
    let after = random.bytes(b"@host.example/ \n\x00\xff", count);
    let text = digits(&[&before[..], secret, &after].concat(), alphabet, 0);
    let first = (before.len() * 8).div_ceil(bits);
    let last = (before.len() + secret.len()) * 8 / bits;
    let core = text[first..last].to_vec();
    Form { text, core }
}

fn wrapped(form: Form, random: &mut Random) -> Form {
    let width = [60, 64, 76][random.below(3)];
    let end: &[u8] = [&b"\n"[..], b"\r\n"][random.below(2)];
    let lines: Vec<&[u8]> = form.text.chunks(width).collect();
    Form {
        text: lines.join(end),
        core: form.core,
    }
}

fn whole(text: Vec<u8>) -> Form {
    Form {
        core: text.clone(),
        text,
    }
}

fn padded(secret: &[u8], alphabet: &[u8], group: usize) -> Vec<u8> {
    let mut text = digits(secret, alphabet, 0);
    while !text.len().is_multiple_of(group) {
        text.push(b'=');
    }
    text
}

fn each(secret: &[u8], between: &str, one: impl Fn(u8) -> String) -> Form {
    let all: Vec<String> = secret.iter().map(|byte| one(*byte)).collect();
    whole(all.join(between).into_bytes())
}

/// Only characters that are not letters or digits.
fn some(secret: &[u8], one: impl Fn(u8) -> String) -> Vec<u8> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let all = secret.iter().map(|byte| {
        if plain(*byte) {
            char::from(*byte).to_string()
        } else {
            one(*byte)
        }
    });
    all.collect::<String>().into_bytes()
}

fn percent(byte: u8) -> String {
    format!("%{byte:02X}")
}

fn entity(byte: u8) -> String {
    match byte {
        b'&' => "&amp;".to_owned(),
        b'<' => "&lt;".to_owned(),
        b'>' => "&gt;".to_owned(),
        b'"' => "&quot;".to_owned(),
        b'\'' => "&#39;".to_owned(),
        _ => char::from(byte).to_string(),
    }
}

fn backslash(byte: u8, special: &[u8]) -> String {
    match byte {
        b'\n' => "\\n".to_owned(),
        _ if special.contains(&byte) => format!("\\{}", char::from(byte)),
        _ => char::from(byte).to_string(),
    }
}

/// What the documentation promises, one line each.
const FORMS: &[(&str, Encoder)] = &[
    ("raw", |s, _| whole(s.to_vec())),
    ("base64", |s, _| whole(padded(s, BASE64, 4))),
    ("base64 without padding", |s, _| whole(digits(s, BASE64, 0))),
    ("base64url", |s, _| whole(padded(s, BASE64_URL, 4))),
    ("base64 inside", |s, r| inside(s, BASE64, r)),
    ("base64url inside", |s, r| inside(s, BASE64_URL, r)),
    ("base64 inside, wrapped", |s, r| {
        let form = inside(s, BASE64, r);
        wrapped(form, r)
    }),
    ("base64url inside, wrapped", |s, r| {
        let form = inside(s, BASE64_URL, r);
        wrapped(form, r)
    }),
    ("base64 twice", |s, _| {
        whole(padded(&padded(s, BASE64, 4), BASE64, 4))
    }),
    ("base64 of wrapped base64", |s, _| {
        let once = padded(s, BASE64, 4);
        let lines: Vec<&[u8]> = once.chunks(76).collect();
        whole(padded(&lines.join(&b"\n"[..]), BASE64, 4))
    }),
    ("base32", |s, _| whole(padded(s, BASE32, 8))),
    ("base32 inside", |s, r| inside(s, BASE32, r)),
    ("base32 inside, small, wrapped", |s, r| {
        let form = inside(s, BASE32, r);
        let small = Form {
            text: form.text.to_ascii_lowercase(),
            core: form.core.to_ascii_lowercase(),
        };
        wrapped(small, r)
    }),
    ("hex", |s, _| each(s, "", |b| format!("{b:02x}"))),
    ("hex, capitals", |s, _| each(s, "", |b| format!("{b:02X}"))),
    ("hex, colons", |s, _| each(s, ":", |b| format!("{b:02x}"))),
    ("hex, blanks", |s, _| each(s, " ", |b| format!("{b:02X}"))),
    ("hex, wrapped", |s, r| {
        let form = each(s, "", |b| format!("{b:02x}"));
        let noise = random_hex(r);
        let text = [noise, form.text].concat();
        wrapped(
            Form {
                text,
                core: form.core,
            },
            r,
        )
    }),
    ("percent", |s, _| whole(some(s, percent))),
    ("percent, all", |s, _| each(s, "", percent)),
    ("percent, twice", |s, _| {
        whole(some(&some(s, percent), percent))
    }),
    ("entities, named", |s, _| each(s, "", entity)),
    ("entities, decimal", |s, _| {
        each(s, "", |b| format!("&#{b};"))
    }),
    ("entities, hex", |s, _| {
        each(s, "", |b| format!("&#x{b:x};"))
    }),
    ("JSON", |s, _| each(s, "", |b| backslash(b, b"\"\\"))),
    ("JSON, all", |s, _| each(s, "", |b| format!("\\u{b:04x}"))),
    ("YAML, single quotes", |s, _| {
        whole(String::from_utf8_lossy(s).replace('\'', "''").into_bytes())
    }),
    ("C, hex", |s, _| each(s, "", |b| format!("\\x{b:02x}"))),
    ("C, octal", |s, _| each(s, "", |b| format!("\\{b:03o}"))),
    ("$'...'", |s, _| each(s, "", |b| backslash(b, b"'\\"))),
    ("set -x", |s, _| {
        whole(
            String::from_utf8_lossy(s)
                .replace('\'', "'\\''")
                .into_bytes(),
        )
    }),
    ("Python", |s, _| each(s, "", |b| backslash(b, b"'\\"))),
    ("quoted-printable, all", |s, _| {
        each(s, "", |b| format!("={b:02X}"))
    }),
    ("UTF-16 LE", |s, _| {
        whole(s.iter().flat_map(|b| [*b, 0]).collect())
    }),
    ("UTF-16 BE", |s, _| {
        whole(s.iter().flat_map(|b| [0, *b]).collect())
    }),
    ("escapes between", |s, r| {
        let escapes: [&[u8]; 5] = [
            b"\x1b[1m",
            b"\x1b[0;31m",
            b"\r",
            b"\x08",
            b"\x1b]0;title\x07",
        ];
        let mut text = Vec::new();
        for byte in s {
            text.push(*byte);
            if r.below(4) == 0 {
                text.extend_from_slice(escapes[r.below(5)]);
            }
        }
        Form {
            text,
            core: s.to_vec(),
        }
    }),
];

fn random_hex(random: &mut Random) -> Vec<u8> {
    let count = random.below(140);
    random.bytes(b"0123456789abcdef", count)
}

fn secret(random: &mut Random) -> Vec<u8> {
    const CHARACTERS: &[u8] = b"ABCDEFabcdefXYZxyz0123456789-_.!#$%&'\"()*+,/:;<=>?@[]^{|}~ \\";
    let count = 8 + random.below(120);
    random.bytes(CHARACTERS, count)
}

fn noise(random: &mut Random) -> Vec<u8> {
    const WORDS: [&[u8]; 12] = [
        b"the quick brown fox ",
        b"\n",
        b"\r\n",
        b"\x1b[32m ok \x1b[0m",
        b"0123456789abcdef",
        b"=====",
        b"\x08",
        b"QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJz",
        b"\n\n",
        b"\xff\x00",
        b"{\"key\": \"value\\n\"}",
        b"%20&amp;",
    ];
    let count = random.below(20);
    (0..count)
        .flat_map(|_| WORDS[random.below(12)])
        .copied()
        .collect()
}

/// Masks text that is cut at random.
fn mask(masker: &Masker, text: &[u8], random: &mut Random) -> Vec<u8> {
    let (mut stream, mut out) = (masker.stream(), Vec::new());
    let mut rest = text;
    let longest = 1 + random.below(1 + text.len());
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(1 + random.below(longest)));
        stream.push(now, &mut out);
        rest = later;
    }
    stream.finish(&mut out);
    out
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Without what may stand between the characters of a form.
fn joined(text: &[u8]) -> Vec<u8> {
    let skipped = |byte: &u8| matches!(byte, b'\n' | b'\r');
    text.iter().filter(|byte| !skipped(byte)).copied().collect()
}

#[test]
fn no_form_of_a_secret_survives_wherever_it_stands_and_however_it_is_cut() {
    for seed in 1..=30_u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let secrets: Vec<Vec<u8>> = (0..1 + random.below(4))
            .map(|_| secret(&mut random))
            .collect();
        let values: Vec<String> = secrets
            .iter()
            .map(|secret| String::from_utf8(secret.clone()).unwrap())
            .collect();
        let masker = Masker::new(&values);
        for (name, encode) in FORMS {
            let secret = &secrets[random.below(secrets.len())];
            let form = encode(secret, &mut random);
            // A blank: text that runs into the form would be another form.
            let before = [noise(&mut random), b" ".to_vec()].concat();
            let text = [&before[..], &form.text, b" ", &noise(&mut random)].concat();
            let out = mask(&masker, &text, &mut random);
            let readable =
                contains(&out, &form.core) || contains(&joined(&out), &joined(&form.core));
            let (shown, out) = (
                String::from_utf8_lossy(&text),
                String::from_utf8_lossy(&out),
            );
            assert!(
                !readable,
                "seed {seed}, {name}: {shown:?} came out as {out:?}"
            );
            assert!(out.contains("****"), "seed {seed}, {name}: {out:?}");
        }
    }
}

#[test]
fn text_without_secrets_is_not_touched() {
    for seed in 1..=100_u64 {
        let mut random = Random(seed.wrapping_mul(0xD134_2543_DE82_EF95));
        let values: Vec<String> = (0..5)
            .map(|_| String::from_utf8(secret(&mut random)).unwrap())
            .collect();
        let masker = Masker::new(&values);
        let text: Vec<u8> = (0..20).flat_map(|_| noise(&mut random)).collect();
        assert_eq!(mask(&masker, &text, &mut random), text, "seed {seed}");
    }
}
