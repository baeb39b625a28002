//! Masking: every form, every cut, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::property::Random;
use super::{Masker, forms};

fn run(masker: &Masker, chunks: &[&[u8]]) -> Vec<u8> {
    let (mut stream, mut out) = (masker.stream(), Vec::new());
    for chunk in chunks {
        stream.push(chunk, &mut out);
    }
    stream.finish(&mut out);
    out
}

#[test]
fn values_that_circleci_leaves_readable_stay_readable() {
    for value in ["abc", "", "true", "True", "false", "False"] {
        let masker = Masker::new(&[value.to_owned()]);
        assert_eq!(
            masker.mask_text("abc true True false False"),
            "abc true True false False"
        );
    }
}

#[test]
fn every_form_is_masked_however_it_is_cut() {
    let secrets = [
        "s3cr'et \"&<val>ue/+=%",
        "two lines\nof a sécret",
        "plainvalue1234567890abcdef",
    ];
    for (seed, secret) in (1_u64..).zip(secrets) {
        let masker = Masker::new(&[secret.to_owned()]);
        let mut random = Random(seed * 7919);
        for form in forms::of(secret) {
            let text = [b"<< ".as_slice(), &form, b" >>"].concat();
            for _ in 0..3 {
                let (a, b) = (random.below(text.len()), random.below(text.len()));
                let (a, b) = (a.min(b), a.max(b));
                let out = run(&masker, &[&text[..a], &text[a..b], &text[b..]]);
                let gone = !out.windows(form.len()).any(|w| w == form);
                let shown = String::from_utf8_lossy(&form).into_owned();
                assert!(
                    gone,
                    "{shown:?} is readable in {:?}",
                    String::from_utf8_lossy(&out)
                );
            }
        }
    }
}

#[test]
fn base64_inside_longer_text_is_masked_at_each_alignment() {
    let secret = "correct-horse-battery";
    let masker = Masker::new(&[secret.to_owned()]);
    for before in ["", "a", "ab", "abc"] {
        let encoded = STANDARD.encode(format!("{before}{secret}:tail"));
        assert!(masker.mask_text(&encoded).contains("****"), "{encoded}");
    }
}

#[test]
fn escapes_inside_a_secret_do_not_hide_it_and_are_kept() {
    let masker = Masker::new(&["hunter22".to_owned()]);
    assert_eq!(
        masker.mask_text("a hun\x1b[1mter\r22 b"),
        "a ****\x1b[1m\r b"
    );
    let out = run(&masker, &[b"hun\x1b", b"[31", b"mter", b"22!"]);
    assert_eq!(out, b"****\x1b[31m!");
}

#[test]
fn other_output_is_the_same_and_not_delayed() {
    let masker = Masker::new(&["hunter22".to_owned()]);
    let mut stream = masker.stream();
    let mut out = Vec::new();
    stream.push(b"Proceed? [y/n] ", &mut out);
    assert_eq!(out, b"Proceed? [y/n] ");
    for whole in [&b"50 of 60 \r"[..], b"\x1b[1mready \x1b[0m", b"\r\x08"] {
        out.clear();
        stream.push(whole, &mut out);
        assert_eq!(out, whole);
    }
    let mut random = Random(42);
    let text: Vec<u8> = (0..20_000)
        .map(|_| b"hunte\r\n\x1b[m\x08 x"[random.below(13)])
        .collect();
    let chunks: Vec<&[u8]> = text.chunks(17).collect();
    assert_eq!(run(&masker, &chunks), text);
}

#[test]
fn the_longest_of_several_values_wins() {
    let masker = Masker::new(&["pass".to_owned(), "password1".to_owned()]);
    assert_eq!(
        masker.mask_text("password1 pass passwork"),
        "**** **** ****work"
    );
    assert_eq!(run(&masker, &[b"pass", b"word", b"1."]), b"****.");
}

#[test]
fn a_very_long_value_is_masked_piece_by_piece() {
    let value: String = (0..3000).map(|n| format!("{n:x}é")).collect();
    let masker = Masker::new(std::slice::from_ref(&value));
    for form in [value.clone(), STANDARD.encode(&value)] {
        let mut random = Random(31);
        let chunks: Vec<&[u8]> = form.as_bytes().chunks(1 + random.below(900)).collect();
        let out = String::from_utf8(run(&masker, &chunks)).unwrap();
        // What is left are the characters that two pieces share in, and the stars.
        assert!(out.len() < 80, "{out}");
        assert!(out.starts_with("****"), "{out}");
    }
}

#[test]
fn throughput_is_printed_when_asked_for() {
    if std::env::var_os("CAPSTAN_BENCH").is_none() {
        return;
    }
    let secrets: Vec<String> = (0..20)
        .map(|n| format!("tok{n}-{}", "Zx9Qw7".repeat(4)))
        .collect();
    let began = std::time::Instant::now();
    let masker = Masker::new(&secrets);
    let built = began.elapsed();
    let line = b"2024-01-01T00:00:00Z INFO compiling module number 12 of 345 in 67 ms\n";
    let chunk: Vec<u8> = line.iter().copied().cycle().take(64 * 1024).collect();
    let (mut stream, mut out) = (masker.stream(), Vec::new());
    let began = std::time::Instant::now();
    for _ in 0..1600 {
        out.clear();
        stream.push(&chunk, &mut out);
    }
    println!(
        "{masker:?} in {built:?}; {:.0} MB/s",
        104.8576 / began.elapsed().as_secs_f64()
    );
}
