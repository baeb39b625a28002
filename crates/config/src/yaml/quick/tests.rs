use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::*;
use crate::yaml::{events, same};

/// Texts that the quick reader takes.
const TAKEN: &[&str] = &[
    // Indentation.
    "a: 1\nb: 2\n",
    "a:\n b:\n  c: 1\n d: 2\n",
    "a:\n    b: 1\n    c:\n     d: 1\n",
    "  a: 1\n  b: 2\n",
    "a:\n- b\n- c\nd: 1\n",
    "a:\n  - b\n  - c\nd: 1\n",
    "a:\n- - b\n  - c\n-   - - d\n      - e\n",
    "a:\n- b: 1\n  c: 2\n-   d: 1\n    e:\n    - f\n",
    "a:\n  - b:\n    - c\n    d:\n      - e\n",
    "a:\n  b:\n\n\nc:\n",
    "a:",
    "a:\n",
    "a: \n  \n",
    "\n\n# c\n\na: b\n\n",
    "---\na: b\n",
    "# c\n--- # d\n# e\na: b\n",
    // What is a key, and what is none.
    "a: b:c\nd:e: f\n-g: -h\nk : l\nm   :\n",
    "\"a\": b\n'c' : \"d\"\n\"e: f\": g\n'': \"\"\n",
    "-a: -b\n-c: --\n--: ---\n",
    "1: a\non: b\n~: c\n3.10: d\n0x1F: e\n",
    "a{b}: [c]\nd,e: f\ng]: h\ni#j: k#l\n",
    "<< p >>: << q >>\n",
    "a:\n-\n- b\n-\n  c\n-   # e\n-   \nf: 1\n",
    "a b: c d\n-a: -\u{e9}\n",
    // Comments.
    "a: b # c\n# d\n  # e\nf: # g\n  h: 1 # i\n    # j\n# k\nl: 1\n# m",
    "a: b #\nc: d\t# e\nf: 'g' # h\ni: [j] # k\nl: &m n # o\np: *m # q\nr: | # s\n  t\n",
    "a: b#c\nd: #e\nf: 'g'\t \n",
    "a:\n- # b\n  c\n- # d\n- e # f\n",
    "a:\n  b: 1\n    # deeper\n # shallower\nc: 1\n",
    // Anchors, aliases, merges.
    "a: &x b\nc: *x\nd: [*x, &y e, *y]\nf: {g: *y, h: &z {i: j}}\nk: *z\n",
    "a: &x\n  b: 1\nc:\n  <<: *x\n  d: 2\ne: {<<: *x, b: 3}\nf:\n  <<: [*x, *x]\n",
    "a: &x\n- b\n- &y c\nd:\n- *x\n- *y\n- &z\n  e: 1\n- &w [f]\n- *w\n- *z\n",
    "a: &x\nb: *x\nc: &y # d\ne:\n- &z\n- *z\n",
    "a: &x 1\nb: *x\nc: &x 2\nd: *x\n",
    "a: &x {b: &x 1}\nc: *x\n",
    "a:\n  &x\n  b: 1\nc: *x\n",
    "a: 1\n<<: {b: 2, a: 3}\n<<: {c: 4, b: 5}\nd: 6\n",
    "<<: [1, {a: 2}]\nb: {<<: c}\nd:\n  <<:\n",
    "a: 1\nb: 2\na: 3\n\"b\": 4\nc: {d: 1, d: 2}\n",
    "on: 1\ntrue: 2\n'true': 3\n",
    "a: &\u{e9}:; b\nc: *\u{e9}:;\n",
    // Plain scalars over several lines.
    "a: b\n  c\nd: 1\n",
    "a: b \n\n\n   c\t\n  - d\n  ? e\n  \"f\" [g\n\nh: 1\n",
    "a:\n- b\n  c\n- d\n   # e\n- f # g\n\n- 1\n  2\n",
    "a:\n- b\n c\n- d\n",
    "a: b\n # c\nd: e\n  f # g\nh: i\n",
    // Quotes.
    "a: 'b''c'\nd: '''' \ne: ''\nf: ' g '\n",
    "a: \"b\\n\\t\\\"\\\\\\/\\x41\\u00e9\\U0001f980\\0\\e\\_\\N\\L\\P\\ c\"\n",
    "a: 'b\n  c'\nd: \"e \\\n   f\"\ng: 'h  \n\n\n i '\nj: \"\n\n  \"\n",
    "a: \"b\\t \n c\"\nd: \"e \\ \n f\"\ng: \"h\\\n\n i\"\nj: 'k\t\n\tl'\n",
    "a: 'b\nc'\nd: \"\nand\"\n",
    "a:\n- 'b\n  c'\n- \"d\": e\n- 'f' : g\n",
    // Literal and folded scalars.
    "a: |\n  b\n  c\nd: >\n  e\n  f\n\n  g\n",
    "a: |-\n  b\n\nc: |+\n  d\n\ne: >-\n  f\n\ng: >+\n  h\n\n\ni: 1\n",
    "a: |2\n   b\n  c\nd: >1-\n  e\n f\ng: |-2\n  h\ni: |+1\n j\n",
    "a: |\n\n\n  b\nc: >\n   \n   d\ne: >\n\n  f\n",
    "a: >\n  b\n  \tc\n  d\n",
    "a: >\n  b\n   c\n  d\n\n   e\n\n  f\n",
    "a: |\n  b\n # c\nd: 1\n",
    "a: |\n  b\n    # c\n  ---\n  ...\n  'd\nd: 1\n",
    "a: |\nb: >\n\nc: |-\n\n\nd: |+\n\n\ne: |+\nf: 1\n",
    "a: |\n",
    "a: >-\n\n  ",
    "a: |\n  b",
    "a: |-\n  b",
    "a: |+\n  b",
    "a: >\n  b\n  c",
    "a: |+\n  b\n\n",
    "a: |\n  b\n  ",
    "a: |\n  b\n \n    \n  c\n",
    "a:\n- |\n b\n- >\n    c\n  \n- d\n",
    "a:\n  - b: |\n      c\n    d: >\n     e\n",
    "a:\n  |\n  b\n",
    "a: |\n  \tb\n  c\td\n",
    "a: |   # b\n  c\n",
    // Flow lists and maps.
    "a: []\nb: {}\nc: [ ]\nd: {   }\ne: [[], {}, [{}]]\n",
    "a: [b, c d, 'e', \"f\", 1, ~]\ng: {h: i, j: [k], 'l': m, \"n\":o, \"p\" :q}\n",
    "a: [b: c, d: , e:, f:]\ng: {h: , i:, j, k: l, m}\n",
    "a: [b,]\nc: {d: e,}\nf: {g,}\n",
    "a: [\n  b,\n  c # d\n  , e\n\n]\nf: {\n# g\n  h: i\n  ,j: k}\n",
    "a: [\nb,\nc\n]\nd: {\ne: f }\n",
    "a: [b #c\n]\nd: [b#c]\n",
    "a: [-b, b-, -1, --]\nc: {d:e: f, g:h}\n",
    "a: [\"b\n c\", 'd\n\n e']\n",
    "a: [\"b\":c, 'd': e, f: [g: h]]\n",
    "a: [b: c # d\n, e]\n",
    "a: {b: {<<: {c: 1}, <<: {d: 2}}, b: 2}\n",
    "{a: b, c: [d]}\n",
    "a:\n  [b]\nc:\n  {d: e}\n",
    "a:\n- [b]\n- {c: d}\n-\n  [e]\n",
    // Characters.
    "a: \u{e9}\u{1f980}\n\u{fc}: \u{a0}\u{85}\nb: \u{2028}c\u{2029}\n",
    "a: b\u{a0}\nc: [d\u{a0}]\ne:\n- f\u{2029}\n\ng: |\n  h\u{85}\n\ni: 1\n",
    "a: b\tc\nd: \"e\tf\"\ng: 'h\ti'\n",
];

/// Texts that are left to the library, which refuses most of them.
const LEFT: &[&str] = &[
    "",
    "\n",
    "# a\n",
    "a",
    "a\n",
    "- a\n",
    "[a]\n",
    "'a'\n",
    "|\n  a\n",
    "? a\n: b\n",
    "a:\n  ? b\n",
    "a: ? b\n",
    ": a\n",
    "a: : b\n",
    "a: - b\n",
    "a: b: c\n",
    "a: 'b': c\n",
    "a: b\n  c: d\n",
    "a:\n  b: 1\n c: 2\n",
    "a:\n   b: 1\n  c: 2\n",
    " a: 1\nb: 2\n",
    "a: 1\n b: 2\n",
    "a:\n  - b\n - c\n",
    "a:\n  - b\n  c: d\n",
    "a: b # c\n  d\n",
    "a\nb: c\n",
    "a\n b: c\n",
    "a: 1\nb\n",
    "a: 1\n'b'\n",
    "'a\n b': c\n",
    "\"a\":b\n",
    "a: \"b\" c\n",
    "a: \"b\"#c\n",
    "a: 'b\n",
    "a: \"\\q\"\n",
    "a: \"\\ud83e\\udd80\"\n",
    "a: \"\\x4\"\n",
    "a: \"b\n---\nc\"\n",
    "a: [b\n",
    "a: [b]]\n",
    "a: [b}\n",
    "a: [b]c\n",
    "a: [b]#c\n",
    "a: [b]: c\n",
    "a: [,]\n",
    "a: [b,,c]\n",
    "a: {,}\n",
    "a: [b c\n  d]\n",
    "a: [- b]\n",
    "a: [-, b]\n",
    "a: [b: c: d]\n",
    "a: {b:[c]}\n",
    "a: {b: c d: e}\n",
    "a: {[b]: c}\n",
    "a: {b\n : c}\n",
    "a: {\"b\"\n : c}\n",
    "a: [b\n: c]\n",
    "a: [?b]\n",
    "a: [*b]\n",
    "a: [b\n---\n]\n",
    "a: [b\n%c]\n",
    "a: [b, #c\n]#\n",
    "a: *x\n",
    "a: &x [*x]\n",
    "a: &x 1\nb: &x [*x]\n",
    "a: &x &y b\n",
    "a: &x\n  &y b\n",
    "a: &x 1\nb: &y *x\n",
    "&x a: b\n",
    "a:\n- &x b: c\n",
    "a: &x 1\n*x : b\n",
    "a: & b\n",
    "a: &x 1\nb: *x c\n",
    "a: !b c\n",
    "a: !!str 1\n",
    "a: @b\n",
    "a: `b\n",
    "a: %b\n",
    "a: ]\n",
    "a: ,b\n",
    "%YAML 1.2\n---\na: b\n",
    "--- a: b\n",
    "---\n---\na: b\n",
    "a: b\n---\nc: d\n",
    "a: b\n...\n",
    "a: |",
    "a: |x\n  b\n",
    "a: |0\n  b\n",
    "a: |-+\n  b\n",
    "a: |#b\n  c\n",
    "a: |\n\tb\n",
    "a: |\n    \n  b\n",
    "a: |3\n  b\n",
    "a: |\n   b\n  c\n",
    "a: |+\n\n",
    "\ta: b\n",
    "a:\tb\n",
    "a:\n\tb: c\n",
    "a:\n-\tb\n",
    "a: [b,\tc]\n",
    "a: b\n\t\nc: d\n",
    "a: b\r\nc: d\r\n",
    "\u{feff}a: b\n",
    "a: b\u{feff}\n",
    "a: b\0\n",
    "a: \u{7f}\n",
    "a: \u{80}\n",
    "a: \u{fffe}\n",
    "a: 'b\u{1}'\n",
];

fn took(text: &str) -> bool {
    match same::readers(text) {
        Ok(took) => took,
        Err(why) => panic!("{text:?}: {why}"),
    }
}

#[test]
fn both_readers_make_the_same_of_odd_texts() {
    let left: Vec<_> = TAKEN.iter().filter(|text| !took(text)).collect();
    assert!(left.is_empty(), "are left: {left:#?}");
    let taken: Vec<_> = LEFT.iter().filter(|text| took(text)).collect();
    assert!(taken.is_empty(), "are taken: {taken:#?}");
}

#[test]
fn both_readers_make_the_same_of_all_short_texts() {
    let pieces = [
        "a", ":", " ", "\n", "- ", "#", "[", "]", "{", "}", ",", "\"", "'", "|", "&x", "*x",
    ];
    let mut taken = 0;
    for head in ["a: &x b\na", "a:\n", "a: ", "a: [", "a: {"] {
        for number in 0..pieces.len().pow(4) {
            let mut text = String::from(head);
            let mut rest = number;
            for _ in 0..4 {
                text.push_str(pieces.get(rest % pieces.len()).unwrap_or(&""));
                rest /= pieces.len();
            }
            taken += usize::from(took(&text));
        }
    }
    assert!(taken > 10_000, "only {taken} are taken");
}

#[test]
fn both_readers_know_the_same_limits() {
    let key = |long: usize| format!("{}: 1\nb: {{{0}: 1}}\n", "a".repeat(long));
    assert!(took(&key(LONGEST_KEY)));
    assert!(!took(&key(LONGEST_KEY + 1)));
    let nested = |deep: usize| format!("a: {}{}\n", "[".repeat(deep), "]".repeat(deep));
    assert!(took(&nested(63)));
    assert!(!took(&nested(64)));
    let nested = |deep: usize| format!("a:\n {}b\n", "- ".repeat(deep));
    assert!(took(&nested(62)));
    assert!(!took(&nested(63)));
    // An alias is as deep as what it stands for.
    let alias = |deep: usize| {
        let half = "[".repeat(32) + &"]".repeat(32);
        format!(
            "a: &x {half}\nb: {}*x{}\n",
            "[".repeat(deep),
            "]".repeat(deep)
        )
    };
    assert!(took(&alias(31)));
    assert!(!took(&alias(32)));
    let long = format!(
        "a: &x [{}]\nb: [{}]\n",
        "c,".repeat(1_000),
        "*x,".repeat(100)
    );
    assert!(took(&long));
    let many = long.replace("*x,", &"*x,".repeat(6));
    assert!(!took(&many), "is near the limit of nodes");
    let twice: String = (0..600).map(|n| format!("k{}: {n}\n", n % 50)).collect();
    assert!(took(&twice), "more mistakes than are kept");
    let texts = format!("a: {}\nb: '{0}'\n{0}: |\n  {0}\n", "x".repeat(900));
    assert!(took(&texts), "long texts weigh more");
}

/// Whatever the text, it is left or taken soon, and no stack overflows.
#[test]
fn long_texts_end_soon() {
    let pieces = [
        "[",
        "{",
        "{a: ",
        "[[],",
        "- ",
        "-\n",
        "a:\n",
        "a:\n ",
        "a: b\n",
        "a: 'b'\n",
        "\n",
        " ",
        "#\n",
        "'\n",
        "a: |\n",
        "a: >\n b\n",
        "&a ",
        "a: &a b\n",
        "a: *a\n",
        "[*a],",
        "a: [b: c]\n",
        "<<: {a: b}\n",
        "\\\n",
        "\u{e9}",
        "? ",
        "a,",
        "<<",
    ];
    for head in [
        "",
        "a: ",
        "a: [",
        "a: {",
        "a: \"",
        "a: |\n ",
        "a: &a {b: c}\nd:\n- ",
    ] {
        for piece in pieces {
            let mut text = String::from(head);
            text.push_str(&piece.repeat(1_000_000 / piece.len()));
            let started = Instant::now();
            let root = read(FileId(0), &text, &mut Vec::new());
            drop(root);
            let took = started.elapsed();
            assert!(
                took < Duration::from_secs(5),
                "{head:?} {piece:?}: {took:?}"
            );
        }
    }
}

fn files(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, all);
        } else if path.extension().is_some_and(|e| e == "yml" || e == "yaml") {
            all.push(path);
        }
    }
}

/// Real configs and orbs, where they are to be had: the quick reader takes nearly all of them.
#[test]
fn both_readers_make_the_same_of_real_texts() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    files(&here.join("../../examples"), &mut all);
    assert!(!all.is_empty(), "no examples");
    let shared = here.ancestors().map(|folder| folder.join("shared"));
    match shared.into_iter().find(|folder| folder.is_dir()) {
        Some(shared) => files(&shared, &mut all),
        None => {
            let required = std::env::var("CAPSTAN_REQUIRE").unwrap_or_default();
            assert!(!required.contains("shared"), "there is no folder `shared`");
        }
    }
    let mut left = Vec::new();
    for path in &all {
        let bytes = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        match same::readers(&text) {
            Ok(true) => {}
            Ok(false) if events::read(FileId(0), &text, &mut Vec::new()).is_err() => {}
            Ok(false) => left.push(path),
            Err(why) => panic!("{}: {why}", path.display()),
        }
    }
    println!(
        "{} of {} are left to the library: {left:?}",
        left.len(),
        all.len()
    );
    assert!(left.len() * 20 <= all.len(), "too many are left: {left:?}");
}
