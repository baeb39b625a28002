//! Packing, as a person sees it.

use super::*;

fn files(files: &[(&str, &str)]) -> Vec<PackFile> {
    files
        .iter()
        .map(|(path, text)| PackFile {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        })
        .collect()
}

fn packed(sources: &[(&str, &str)]) -> String {
    pack(&files(sources), Some(&script)).unwrap()
}

fn script(path: &str) -> Result<String, String> {
    match path {
        "scripts/a.sh" => Ok(String::from("cat <<EOF\n  << parameters.x >>\nEOF\n")),
        _ => Err(String::from("there is no such file")),
    }
}

fn wrong(sources: &[(&str, &str)]) -> Vec<String> {
    pack(&files(sources), Some(&script)).unwrap_err()
}

#[test]
fn files_become_keys_along_their_path() {
    let text = packed(&[
        (
            "@orb.yml",
            "version: 2.1\ndescription: >-\n  two\n  words\n",
        ),
        ("commands/@all/greet.yml", "steps: [run: echo hi]\n"),
        ("commands/aws/login.yaml", "steps: []\n"),
        ("commands/sub.x.yml", "# nothing but this\n"),
        ("jobs/@base.yml", "shared: {docker: [{image: a}]}\n"),
        ("jobs/build.yml", "steps:\n  - greet\n"),
        (
            "more.yml",
            "jobs: {build: {docker: *x}, test: {}}\n"
                .replace("*x", "[]")
                .as_str(),
        ),
    ]);
    assert_eq!(
        text,
        "version: 2.1
description: two words
commands:
  greet:
    steps:
      - run: echo hi
  aws:
    login:
      steps: []
  sub.x: {}
jobs:
  shared:
    docker:
      - image: a
  build:
    steps:
      - greet
    docker: []
  test: {}
"
    );
}

#[test]
fn words_are_kept_and_anchors_written_out() {
    let source = "a: &a {python: 3.10, octal: 017, on: on, none: ~, empty:, text: \"on\"}\n\
                      b: {<<: *a, python: \"3.10\"}\n";
    assert_eq!(
        packed(&[("x.yml", source)]),
        "a:
  python: 3.10
  octal: 017
  true: on
  none: null
  empty: null
  text: \"on\"
b:
  python: \"3.10\"
  octal: 017
  true: on
  none: null
  empty: null
  text: \"on\"
"
        .replace("true: on", "\"true\": on")
    );
}

#[test]
fn an_include_is_the_text_of_its_file_without_tags() {
    let source =
        "steps:\n  - run: {command: << include( scripts/a.sh ) >>}\n  - run: \\<<include(x)>>\n";
    assert_eq!(
        packed(&[("commands/c.yml", source)]),
        "commands:
  c:
    steps:
      - run:
          command: |
            cat \\<<EOF
              \\<< parameters.x >>
            EOF
      - run: \\<<include(x)>>
"
        .replace("run: \\<<", "run: \"\\\\<<")
        .replace("include(x)>>", "include(x)>>\"")
    );
    // In a config they are left to the compiler, which refuses them.
    let left = pack(
        &files(&[("a.yml", "run: << include(scripts/a.sh) >>")]),
        None,
    )
    .unwrap();
    assert_eq!(left, "run: \"<< include(scripts/a.sh) >>\"\n");
}

#[test]
fn what_cannot_be_packed_is_said_with_its_place() {
    let found = wrong(&[
        (
            "a.yml",
            "run: <<include(scripts/a.sh)>> and more\nk: <<include(gone)>>\n",
        ),
        ("b.yml", "- a list\n"),
        ("c.yml", "k: 1\n"),
        ("d.yml", "x: [\n"),
        ("k/e.yml", "l: 1\n"),
    ]);
    let expected = [
        "a.yml:1:6: <<include(path)>> stands alone",
        "a.yml:2:4: cannot include \"gone\": there is no such file",
        "b.yml:1:1: this file must be a map",
        "c.yml:1:1: the key k is given a second time, first at a.yml:2:1",
        "d.yml:",
        "k/e.yml: it goes below the key k, which a.yml:2:1 gives a value that is no map",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
    assert!(wrong(&[("a.yml", "# empty")])[0].contains("nothing to pack"));
    let two = wrong(&[("a.yml", "run: <<include(a)>><<include(b)>>")]);
    assert!(two[0].contains("stands alone"), "{two:?}");
}

#[test]
fn what_grows_without_end_is_refused_soon() {
    let long = "x".repeat(1 << 20);
    let aliases = "*a, ".repeat(100_000);
    let found = wrong(&[("a.yml", &format!("a: &a {long}\nb: [{aliases}]\n"))]);
    assert_eq!(found.len(), 1, "{}", found.len());
    assert!(
        found[0].contains("after its aliases are expanded"),
        "{}",
        found[0]
    );
    let bad = "- <<include(gone)>>\n".repeat(50_000);
    assert_eq!(wrong(&[("a.yml", &format!("a:\n{bad}"))]).len(), MAX_WRONG);
    let keys: String = (0..50_000).map(|n| format!("k{n}: 1\n")).collect();
    assert_eq!(
        wrong(&[("a.yml", &keys), ("b.yml", &keys)]).len(),
        MAX_WRONG
    );
}

#[test]
fn imports_are_made_exact_where_they_are_known() {
    let file = PackFile {
        path: String::from("orb.yml"),
        text: String::from(
            "orbs:\n  a: x/a@1\n  b: x/b@dev:first\n  c: {orbs: {a: x/a@1}}\nname: x/a@1 # not this\n",
        ),
    };
    let exact = |reference: &str| (reference == "x/a@1").then(|| String::from("x/a@1.2.3"));
    assert_eq!(
        pin(&file, &exact).unwrap(),
        "orbs:\n  a: x/a@1.2.3\n  b: \"x/b@dev:first\"\n  c:\n    orbs:\n      a: x/a@1.2.3\nname: x/a@1\n"
    );
}

#[test]
fn any_text_reads_back_as_it_was() {
    for text in [
        "",
        " ",
        "a: b",
        "# no comment",
        "one\ntwo",
        "one\ntwo\n",
        "one\ntwo\n\n\n",
        "\nfirst line empty",
        "  indented\nfirst",
        "blanks\n   \nbetween",
        "tab\tand\nlines\n",
        "\u{2028}\u{85}\u{1b}",
        "quote\"back\\slash",
        "true",
        "3.10",
        "- item",
        "a #b",
        "é",
        "{{ x }}",
        "a\r\nb\r\n",
        "end:",
        "<<",
    ] {
        let json = serde_json::to_string(text).unwrap();
        let once = pack(
            &files(&[("a.yml", &format!("l: [{json}, [{json}]]\nm: {json}\n"))]),
            None,
        );
        let once = once.unwrap();
        let mut found = Vec::new();
        let read = parse(FileId(0), &once, &mut found).unwrap();
        assert!(found.is_empty(), "{once}");
        let list = read.get("l").unwrap().seq().unwrap();
        assert_eq!(list[0].str(), Some(text), "{once}");
        assert_eq!(list[1].seq().unwrap()[0].str(), Some(text), "{once}");
        assert_eq!(read.get("m").unwrap().str(), Some(text), "{once}");
        let again = pack(&files(&[("b.yml", &once)]), None).unwrap();
        assert_eq!(again, once);
    }
}

/// Orbs and configs of many repositories, which are no part of this one.
#[test]
fn real_files_read_back_as_they_were() {
    let folders: Vec<std::path::PathBuf> = ["shared/orbs", "shared/corpus"]
        .iter()
        .filter_map(|name| {
            std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .ancestors()
                .map(|folder| folder.join(name))
                .find(|folder| folder.is_dir())
        })
        .collect();
    if folders.len() < 2 {
        let required = std::env::var("CAPSTAN_REQUIRE").unwrap_or_default();
        assert!(
            !required.contains("shared"),
            "CAPSTAN_REQUIRE asks for them, and there is no shared/orbs or shared/corpus"
        );
        println!("skipped: there is no shared/orbs and shared/corpus beside any folder above");
        return;
    }
    let mut open = folders;
    let mut count = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let mut found = Vec::new();
        let Ok(original) = parse(FileId(0), &text, &mut found) else {
            continue;
        };
        if !found.is_empty() {
            continue;
        }
        let packed = pack(&files(&[("a.yml", &text)]), None).unwrap();
        let again = parse(FileId(0), &packed, &mut found).unwrap();
        assert!(found.is_empty(), "{}: {found:?}", path.display());
        assert!(
            again.value.same(&original.value),
            "{}:\n{packed}",
            path.display()
        );
        count += 1;
    }
    assert!(count > 300, "{count} files");
}
