//! Texts made from the grammar of the language: mostly right, so that they come far.

use std::fmt::Write as _;

use crate::rng::Rng;

const NAMES: &[&str] = &[
    "n",
    "b",
    "s",
    "list",
    "unset",
    "nope",
    "parameters.n",
    "parameters.b",
    "parameters.s",
    "parameters.list",
    "pipeline.git.branch",
    "pipeline.git.tag",
    "pipeline.nothing",
    "matrix.x",
    "parameters.é",
];

const PATTERNS: &[&str] = &[
    "main",
    "^v\\d+$",
    "a|b",
    "(a*)*b",
    "(?!x).*",
    "(?<=a)b",
    "(a",
    "[z-a]",
    "\\p{L}+",
    "(x+x+)+y",
    "((a{9}){9}){9}",
    "(.)\\1",
    "",
];

/// Pieces of YAML that mean something else where something else is before or behind them.
const PIECES: &[&str] = &[
    "a",
    "b",
    "a",
    "b c",
    "k: ",
    "k: ",
    "k: ",
    "j: ",
    "k:",
    ": ",
    ":",
    "- ",
    "- ",
    "- ",
    "-",
    "\n",
    "\n",
    "\n",
    "\n  ",
    "\n  ",
    "\n  ",
    "\n    ",
    "\n    ",
    "\n ",
    "\n   ",
    "\n\n",
    "\n \n",
    " ",
    "  ",
    "#",
    " # c",
    " # c\n",
    "\t",
    "[",
    "]",
    "{",
    "}",
    ", ",
    ",",
    "[a, b]",
    "{k: a, j: b}",
    "[k: a]",
    "{k, j}",
    "\"",
    "'",
    "\"a\"",
    "'b'",
    "\"a b\"",
    "'a''b'",
    "\"k\": ",
    "\"k\":",
    "'k': ",
    "\\",
    "\\n",
    "\\\n",
    "\\u00e9",
    "|",
    ">",
    "|\n",
    ">\n",
    "|-\n",
    ">+\n",
    "|2\n",
    ">1-\n",
    "|\n  a\n",
    ">\n  a\n\n  b\n   c\n",
    "&x ",
    "&x",
    "&y ",
    "*x",
    "*y",
    "*x ",
    "<<: ",
    "<<",
    "<<: *x",
    "? ",
    "!",
    "%",
    "@",
    "~",
    "1",
    "0x1F",
    "1.5",
    "on",
    "true",
    "null",
    "---",
    "\n---\n",
    "...",
    "\n...\n",
    "é",
    "\u{a0}",
    "\u{85}",
    "\u{2028}",
    "<< p >>",
];

/// A short text of pieces of YAML, often one that is sound.
pub fn yaml(rng: &mut Rng) -> String {
    let mut text = String::from(rng.pick(&[
        "",
        "k:",
        "k: ",
        "k:\n  ",
        "k:\n- ",
        "k:\n  - ",
        "k: &x ",
        "k: &x\n  ",
        "i: &x {a: b}\nk: ",
        "k: [",
        "k: {",
        "k: |\n",
        "k: >\n  ",
        "k: \"",
        "k: '",
        "k:\n  - j: ",
        "k: a",
    ]));
    for _ in 0..=rng.below(12) {
        text.push_str(rng.pick(PIECES));
    }
    if rng.chance(50) {
        text.push_str(rng.pick(&["\n", "\nz: 1\n", "]\n", "}\n", "\"\n", "'\n", "\n  z: 1\n"]));
    }
    // A key has to be near its colon.
    if rng.chance(8) {
        let piece = rng.pick(&["a", " ", "\"", "é", ", "]);
        let at = text.find(piece).map_or(0, |at| at + piece.len());
        let long = rng
            .pick(&["a", " ", "b c ", "é"])
            .repeat(240 + rng.below(800));
        text.insert_str(at, &long);
    }
    text
}

/// An expression, at most `depth` deep.
pub fn expression(rng: &mut Rng, depth: usize) -> String {
    if depth == 0 || rng.chance(25) {
        return match rng.below(7) {
            0 => rng
                .pick(&[
                    "0",
                    "1",
                    "-7",
                    "9223372036854775807",
                    "99999999999999999999",
                ])
                .to_owned(),
            1 => format!(
                "\"{}\"",
                rng.pick(&[
                    "main",
                    "",
                    "a\\\"b",
                    "x>>y",
                    "é",
                    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                ])
            ),
            2 => format!("/{}/", rng.pick(PATTERNS)),
            3 => rng.pick(&["true", "false"]).to_owned(),
            _ => rng.pick(NAMES).to_owned(),
        };
    }
    let (left, right) = (expression(rng, depth - 1), expression(rng, depth - 1));
    match rng.below(6) {
        0 => format!("not {left}"),
        1 => format!("({left})"),
        2 => format!("!{left}"),
        3 => {
            let n = rng.below(130);
            format!("{}{left}{}", "(".repeat(n), ")".repeat(n))
        }
        _ => {
            let op = rng.pick(&[
                "and",
                "or",
                "AND",
                "==",
                "!=",
                ">",
                "<",
                ">=",
                "<=",
                "starts-with",
                "contains",
                "matches",
                "&&",
                "||",
                "=",
            ]);
            format!("{left} {op} {right}")
        }
    }
}

/// A text with tags.
pub fn template(rng: &mut Rng) -> String {
    let mut text = String::new();
    for _ in 0..=rng.below(6) {
        let inner = match rng.below(3) {
            0 => expression(rng, 2),
            _ => rng.pick(NAMES).to_owned(),
        };
        text.push_str(&match rng.below(9) {
            0 => format!("<<# {inner} >>"),
            1 => format!("<<^ {inner} >>"),
            2 => format!("<</ {inner} >>"),
            3 => rng
                .pick(&[
                    "\\<<", "\\\\<<", "<<", ">>", "<<<", "\\<<<", "<< >>", "<<\"", "\\",
                ])
                .to_owned(),
            4 => rng
                .pick(&["text", " ", "é", "{{ .Branch }}", "$X", "\n"])
                .to_owned(),
            _ => format!("<< {inner} >>"),
        });
    }
    text
}

/// A logic statement as flow YAML.
pub fn logic(rng: &mut Rng, depth: usize) -> String {
    if depth == 0 || rng.chance(20) {
        return rng
            .pick(&[
                "true",
                "false",
                "\"\"",
                "x",
                "0",
                "1.5",
                "null",
                "[]",
                "{}",
                "[a]",
                "\"<< b >>\"",
                "{and: []}",
                "{nope: 1}",
                "*x",
                "&x true",
            ])
            .to_owned();
    }
    let one = logic(rng, depth - 1);
    match rng.below(8) {
        0 => format!("{{not: {one}}}"),
        1 => format!(
            "{{matches: {{pattern: '{}', value: '{}'}}}}",
            rng.pick(PATTERNS),
            rng.pick(&["main", "", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "é"])
        ),
        2 => format!(
            "{{equal: [{one}, {}, {}]}}",
            logic(rng, depth - 1),
            logic(rng, depth - 1)
        ),
        3 => {
            let n = rng.below(120);
            format!("{}{one}{}", "{not: ".repeat(n), "}".repeat(n))
        }
        _ => {
            let word = rng.pick(&["and", "or", "AND", "xor", "equal"]);
            let mut text = format!("{{{word}: [{one}");
            for _ in 0..rng.below(4) {
                let more = logic(rng, depth - 1);
                let _ = write!(text, ", {more}");
            }
            text.push_str("]}");
            text
        }
    }
}

/// What could stand in `orbs:`.
pub fn reference(rng: &mut Rng) -> String {
    let part = |rng: &mut Rng| {
        rng.pick(&[
            "circleci", "node", "aws-s3", "a", "A", "", "1a", "a_b", "é", "a/b", "-",
        ])
        .to_owned()
    };
    let (space, name) = (part(rng), part(rng));
    let version = rng.pick(&[
        "1",
        "1.2",
        "1.2.3",
        "1.2.3.4",
        "01.2.3",
        "volatile",
        "dev:first",
        "dev:",
        "dev:UP",
        "latest",
        "999999999.0.0",
        "9999999999",
        "1.",
        ".1",
        "^1.2",
        ">=1",
        "",
        " ",
        "1 ",
        "<< n >>",
        "1.2.3-rc1",
        "1@2",
    ]);
    match rng.below(8) {
        0 => format!("https://{space}/{name}.yml"),
        1 => format!("http://{space}/{name}"),
        2 => format!("{space}/{name}"),
        3 => format!("{space}@{version}"),
        _ => format!("{space}/{name}@{version}"),
    }
}

/// A small config, with the references of the orbs that it names.
pub fn config(rng: &mut Rng) -> (String, Vec<String>) {
    let mut text = String::from("version: 2.1\n");
    let mut orbs = Vec::new();
    if rng.chance(35) {
        text.push_str("orbs:\n");
        for at in 0..=rng.below(3) {
            let reference = format!("t/o{}@{}.0.0", rng.below(3), rng.below(2));
            let _ = writeln!(text, "  o{at}: {reference}");
            orbs.push(reference);
        }
        if rng.chance(30) {
            text.push_str("  inl:\n    commands: {c0: {steps: [{run: hi}, c1]}, c1: {steps: [c0]}}\n    jobs: {j: {docker: [{image: a}], steps: [c1]}}\n");
        }
    }
    if rng.chance(60) {
        text.push_str("parameters:\n");
        for at in 0..=rng.below(3) {
            let kind = rng.pick(&[
                "{type: string, default: x}",
                "{type: boolean, default: true}",
                "{type: integer, default: 3}",
                "{type: enum, enum: [a, b], default: a}",
                "{type: steps, default: []}",
                "{type: string}",
            ]);
            let _ = writeln!(text, "  p{at}: {kind}");
        }
    }
    body(rng, &mut text, "");
    let jobs = workflows(rng, &mut text);
    let _ = write!(text, "{jobs}");
    (text, orbs)
}

/// An orb that may import the others, itself too.
pub fn orb(rng: &mut Rng) -> String {
    let mut text = String::from("version: 2.1\n");
    if rng.chance(50) {
        let _ = writeln!(
            text,
            "orbs: {{o0: t/o{}@{}.0.0, o1: circleci/node@5}}",
            rng.below(3),
            rng.below(2)
        );
    }
    body(rng, &mut text, "");
    text
}

fn body(rng: &mut Rng, text: &mut String, pad: &str) {
    let kinds = [
        "{type: string, default: x}",
        "{type: string}",
        "{type: boolean, default: false}",
        "{type: integer, default: 1}",
        "{type: steps, default: []}",
        "{type: executor, default: e0}",
        "{type: env_var_name, default: A_B}",
        "{type: enum, enum: [a, 1, true], default: a}",
    ];
    let parameters = |rng: &mut Rng| {
        let all: Vec<String> = (0..rng.below(4))
            .map(|at| format!("x{at}: {}", rng.pick(&kinds)))
            .collect();
        format!("{{{}}}", all.join(", "))
    };
    let _ = writeln!(
        text,
        "{pad}executors:\n{pad}  e0: {{docker: [{{image: a}}]}}"
    );
    let _ = writeln!(
        text,
        "{pad}  e1: {{parameters: {}, machine: {{image: '<< parameters.x0 >>'}}, environment: {{A: b, C: '<< parameters.x1 >>'}}}}",
        parameters(rng)
    );
    if rng.chance(20) {
        let _ = writeln!(
            text,
            "{pad}  e2: {}",
            rng.pick(&["e0", "e2", "o0/e0", "nope"])
        );
    }
    let _ = writeln!(text, "{pad}commands:");
    for at in 0..=rng.below(4) {
        let _ = writeln!(
            text,
            "{pad}  c{at}:\n{pad}    parameters: {}\n{pad}    steps:",
            parameters(rng)
        );
        for _ in 0..=rng.below(3) {
            let step = step(rng, 2);
            let _ = writeln!(text, "{pad}      - {step}");
        }
    }
    let _ = writeln!(text, "{pad}jobs:");
    for at in 0..=rng.below(4) {
        let place = rng.pick(&[
            "executor: e0",
            "executor: {name: e1, x0: v}",
            "docker: [{image: a}, {image: b}]",
            "machine: true",
            "machine: {image: u, docker_layer_caching: yes}",
            "macos: {xcode: 15.1}",
            "executor: << parameters.x0 >>",
            "type: no-op",
            "type: approval",
            "executor: o0/e0",
            "type: lock\n    key: a",
        ]);
        let _ = writeln!(
            text,
            "{pad}  j{at}:\n{pad}    parameters: {}\n{pad}    {place}",
            parameters(rng)
        );
        if rng.chance(20) {
            let _ = writeln!(
                text,
                "{pad}    parallelism: {}",
                rng.pick(&["2", "0", "<< parameters.x0 >>", "1e9"])
            );
        }
        if rng.chance(20) {
            let _ = writeln!(
                text,
                "{pad}    environment: {}",
                rng.pick(&[
                    "{A: 1}",
                    "[A=b, C]",
                    "A=b",
                    "{<<: {A: 1}, A: 2}",
                    "[{A: [1]}]"
                ])
            );
        }
        let _ = writeln!(text, "{pad}    steps:");
        for _ in 0..=rng.below(4) {
            let step = step(rng, 2);
            let _ = writeln!(text, "{pad}      - {step}");
        }
    }
}

fn step(rng: &mut Rng, depth: usize) -> String {
    let value = |rng: &mut Rng| {
        rng.pick(&[
            "v",
            "1",
            "true",
            "[]",
            "[checkout]",
            "<< parameters.x0 >>",
            "'<< parameters.x1 >> b'",
            "e1",
            "{name: e1}",
            "[<< parameters.x0 >>]",
        ])
        .to_owned()
    };
    match rng.below(if depth == 0 { 5 } else { 9 }) {
        0 => String::from("checkout"),
        1 => format!("{{run: {}}}", value(rng)),
        2 => format!(
            "{{run: {{command: {}, name: n, environment: {{A: {}}}, when: always}}}}",
            value(rng),
            value(rng)
        ),
        3 => rng
            .pick(&[
                "<< parameters.x0 >>",
                "<< parameters.x1 >>",
                "{save_cache: {key: 'k-{{ .Branch }}', paths: [a]}}",
                "{restore_cache: {keys: [a]}}",
                "{steps: << parameters.x0 >>}",
                "setup_remote_docker",
                "{store_artifacts: {path: a}}",
                "{deploy: x}",
            ])
            .to_owned(),
        4 => format!("c{}", rng.below(6)),
        5 => format!(
            "{{c{}: {{x0: {}, x1: {}}}}}",
            rng.below(5),
            value(rng),
            value(rng)
        ),
        6 => format!("{{o0/c{}: {{x0: {}}}}}", rng.below(3), value(rng)),
        7 => {
            let (condition, inner) = (logic(rng, 1), step(rng, depth - 1));
            format!(
                "{{{}: {{condition: {condition}, steps: [{inner}]}}}}",
                rng.pick(&["when", "unless"])
            )
        }
        _ => {
            let (a, b) = (step(rng, depth - 1), step(rng, depth - 1));
            format!("{{c0: {{x0: [{a}, {b}]}}}}")
        }
    }
}

fn workflows(rng: &mut Rng, text: &mut String) -> String {
    if rng.chance(15) {
        text.push_str("job-groups: {g: {jobs: [j0, {j1: {requires: [j0]}}]}}\n");
    }
    let mut out = String::from("workflows:\n");
    for w in 0..=rng.below(2) {
        let _ = writeln!(out, "  w{w}:");
        if rng.chance(30) {
            let condition = if rng.chance(50) {
                logic(rng, 2)
            } else {
                format!("'{}'", expression(rng, 2).replace('\'', ""))
            };
            let _ = writeln!(out, "    {}: {condition}", rng.pick(&["when", "unless"]));
        }
        out.push_str("    jobs:\n");
        for _ in 0..=rng.below(5) {
            let name = rng.pick(&["j0", "j1", "j2", "j3", "o0/j0", "inl/j", "g", "hold"]);
            let _ = writeln!(out, "      - {name}:");
            for _ in 0..=rng.below(3) {
                let line = rng.pick(&[
                    "requires: [j0]", "requires: [j1, {j0: [failed, canceled]}]", "name: n<< matrix.x0 >>", "type: approval",
                    "matrix: {parameters: {x0: [a, b, 3]}}", "matrix: {parameters: {x0: [1, 2], x1: [a, b, c, d]}, exclude: [{x0: 1, x1: a}], alias: m}",
                    "filters: {branches: {only: [main, /a.*/]}, tags: {ignore: /.*/}}", "filters: pipeline.git.branch == \"main\"",
                    "context: [a, b]", "pre-steps: [checkout]", "post-steps: [{run: x}]", "x0: v", "x1: [checkout]", "serial-group: a/b",
                    "override-with: o0/j1", "x0: << pipeline.parameters.p0 >>", "matrix: {parameters: {x0: [<< pipeline.number >>]}}",
                ]);
                let _ = writeln!(out, "          {line}");
            }
        }
    }
    out
}
