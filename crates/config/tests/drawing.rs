//! What a terminal shows of a finding: the right place, everything aligned, nothing that the terminal
//! could take for a command, never more than a person reads.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot build its own input has to fail"
)]

#[path = "support/compiled.rs"]
mod support;

use std::time::{Duration, Instant};

use capstan_config::diagnostic::{Look, Mend, Report};
use capstan_config::{Diagnostic, Orb, Severity, Sources};
use capstan_model::{FileId, Span};

fn drawn(text: &str) -> String {
    let (sources, found) = support::compiled(text);
    let report = Report::new(&sources);
    report.draw_all(&found, Look::default()).join("\n")
}

fn span(file: u32, text: &str, part: &str) -> Span {
    let start = text.find(part).unwrap();
    let byte = |at: usize| u32::try_from(at).unwrap();
    Span {
        file: FileId(file),
        start: byte(start),
        end: byte(start + part.len()),
    }
}

#[test]
fn labels_calls_help_and_patch_stand_together() {
    let text = "version: 2.1
commands:
  greet:
    parameters: {to: {type: string}}
    steps: [{run: echo << parameters.too >>}]
jobs:
  one:
    docker: [{image: a}]
    steps:
      - greet: {to: 3.8}
workflows:
  w:
    jobs: [one]
";
    let wanted = "\
error[E_PARAM_UNDECLARED]: Arguments referenced without declared parameters: parameters.too
  --> .circleci/config.yml:5:19
   |
 5 |     steps: [{run: echo << parameters.too >>}]
   |                   ^^^^^^^^^^^^^^^^^^^^^^^^^
...
10 |       - greet: {to: 3.8}
   |         ----- calling command: 'greet'
   |
   = note: calling workflow: 'w' (line 12)
           calling job: 'one' (line 13)
help: did you mean `parameters.to`?
   |
 5 -     steps: [{run: echo << parameters.too >>}]
 5 +     steps: [{run: echo << parameters.to >>}]
   |

error[E_PARAM_TYPE]: Type error for argument to: expected type: string, actual value: 3.8 (type float)
  --> .circleci/config.yml:10:21
   |
 4 |     parameters: {to: {type: string}}
   |                  -- declared as string
...
10 |       - greet: {to: 3.8}
   |                     ^^^
   |
   = note: calling workflow: 'w' (line 12)
           calling job: 'one' (line 13)
           calling command: 'greet' (line 10)
help: enclose it in quotes: \"3.8\"
   |
10 -       - greet: {to: 3.8}
10 +       - greet: {to: \"3.8\"}
   |
";
    assert_eq!(drawn(text), wanted, "\n{}", drawn(text));
}

#[test]
fn places_in_two_files_are_drawn_under_both() {
    let config = "version: 2.1\njobs: {one: {steps: [o/deploy: {to: prod}]}}\n";
    let orb = "commands:\n  deploy:\n    steps: [{run: << parameters.where >>}]\n";
    let mut sources = Sources::new(".circleci/config.yml", config);
    sources.add_orb(
        "acme/o@1",
        Orb::Found {
            exact: String::from("acme/o@1.2.3"),
            text: orb.to_owned(),
        },
    );
    let place = span(1, orb, "<< parameters.where >>");
    let mut found = Diagnostic::error("E_PARAM_UNDECLARED", String::from("no `where`"), place);
    found.label = String::from("not declared");
    found.labels = vec![(span(1, orb, "deploy"), String::from("this command"))];
    found.origin = vec![
        (String::from("calling job: 'one'"), span(0, config, "one")),
        (
            String::from("calling command: 'o/deploy'"),
            span(0, config, "o/deploy"),
        ),
    ];
    found.help = vec![
        String::from("name one that there is"),
        String::from("or declare it under `parameters` of deploy"),
    ];
    found.mend = Some(Mend {
        span: place,
        replacement: String::from("<< parameters.to >>"),
    });
    let wanted = "\
error[E_PARAM_UNDECLARED]: no `where`
 --> acme/o@1.2.3:3:19
  |
2 |   deploy:
  |   ------ this command
3 |     steps: [{run: << parameters.where >>}]
  |                   ^^^^^^^^^^^^^^^^^^^^^^ not declared
  |
 ::: .circleci/config.yml:2:22
  |
2 | jobs: {one: {steps: [o/deploy: {to: prod}]}}
  |                      -------- calling command: 'o/deploy'
  |
  = note: calling job: 'one' (.circleci/config.yml:2)
  = help: or declare it under `parameters` of deploy
help: name one that there is
  |
3 -     steps: [{run: << parameters.where >>}]
3 +     steps: [{run: << parameters.to >>}]
  |
";
    let drawn = found.render(&sources, false);
    assert_eq!(drawn, wanted, "\n{drawn}");
    assert!(found.render(&sources, true).contains("\u{1b}["));
}

#[test]
fn nothing_of_a_file_reaches_the_terminal_as_a_command() {
    let text = "version: 2.1\n\
        jobs: {\"o\u{85}ne\u{202e}\": {docker: [{image: a}], steps: [\"\\e[31m\\a\\x9b2J\"]}}\n\
        workflows: {w: {jobs: [\"o\u{85}ne\u{202e}\"]}}\n";
    let drawn = drawn(text);
    assert!(drawn.contains("E_UNKNOWN_COMMAND"), "{drawn}");
    let harmful = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert_eq!(drawn.find(harmful), None, "{drawn:?}");
}

#[test]
fn tabs_and_wide_characters_keep_marks_under_their_text() {
    let text = "version: 2.1\n\
        jobs: {one: {docker: [{image: \"日本\",\tname: b,\twrong: 1}], steps: [checkout]}}\n\
        workflows: {w: {jobs: [one]}}\n";
    let drawn = drawn(text);
    let mut lines = drawn.lines().skip_while(|line| !line.starts_with("2 |"));
    let (source, marks) = (lines.next().unwrap(), lines.next().unwrap());
    let before = source.split("wrong").next().unwrap();
    // Each of the two characters takes two columns of a terminal.
    assert_eq!(marks.find('^').unwrap(), before.chars().count() + 2);
    assert!(!source.contains('\t'), "{drawn}");
}

#[test]
fn a_long_line_is_cut_around_its_mark_and_its_place_stays_true() {
    let filler = "y".repeat(100_000);
    let text = format!(
        "version: 2.1\njobs: {{one: {{docker: [{{image: a}}], steps: [{{run: {{command: '{filler}', wrong: 1}}}}, run: '{filler}']}}}}\nworkflows: {{w: {{jobs: [one]}}}}\n"
    );
    let column = text.lines().nth(1).unwrap().find("wrong").unwrap() + 1;
    let drawn = drawn(&text);
    assert!(
        drawn.contains(&format!("config.yml:2:{column}\n")),
        "{drawn}"
    );
    assert!(drawn.contains("yyyy', wrong: 1}"), "{drawn}");
    let longest = drawn.lines().map(|line| line.chars().count()).max();
    assert!(longest.unwrap() < 200, "{drawn}");
}

#[test]
fn many_findings_in_four_megabytes_are_told_soon_and_errors_are_not_lost_among_warnings() {
    let filler = "y".repeat(3_400);
    let steps: String = (0..1_100)
        .map(|i| format!("      - run: {{command: '{filler}', wrong{i}: 1}}\n"))
        .collect();
    let text = format!(
        "version: 2.1\njobs:\n  one:\n    docker: [{{image: a}}]\n    steps:\n{steps}      - chekout\nworkflows: {{w: {{jobs: [one]}}}}\n"
    );
    let (sources, found) = support::compiled(&text);
    // Five hundred warnings, of which the last says that there are more, and the error.
    assert_eq!(found.len(), 501);
    let start = Instant::now();
    let report = Report::new(&sources);
    let drawn = report.draw_all(&found, Look::default());
    let json: Vec<_> = found.iter().map(|one| report.json(one)).collect();
    assert_eq!((drawn.len(), json.len()), (101, 501));
    assert_eq!(
        drawn.last().unwrap(),
        "… and 401 more in .circleci/config.yml"
    );
    assert!(drawn.iter().any(|one| one.contains("chekout")));
    // A debug build takes a third of a second; counting lines for each finding takes minutes.
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_span_of_no_file_is_drawn_all_the_same() {
    let nowhere = Span {
        file: FileId(7),
        start: 5,
        end: 90,
    };
    let mut found = Diagnostic::error("E_LIMIT", String::from("too large"), nowhere);
    found.severity = Severity::Unsupported;
    let drawn = found.render(&Sources::new("f", "x"), false);
    assert!(
        drawn.starts_with("unsupported[E_LIMIT]: too large\n"),
        "{drawn}"
    );
}
