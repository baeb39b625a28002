//! Many files into one (language 15): each becomes keys along its path. Values keep the words they were
//! written in (`3.10` stays `3.10`); anchors and merges are written out, comments are lost.

use std::collections::HashMap;
use std::fmt;

use capstan_model::source::line_column;
use capstan_model::{FileId, Span};

use crate::yaml::{Node, parse};

/// Longest result, in bytes: what an orb or a config may have.
const MAX_RESULT: usize = 4 << 20;
/// How many mistakes are told.
const MAX_WRONG: usize = 100;

/// A file to be packed.
#[derive(Clone, Debug)]
pub struct PackFile {
    /// Its path below the packed folder, parts separated by `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Gives the text of a file that an `<<include(path)>>` names, or says why there is none.
pub type Include<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// A value of the packed tree.
enum Packed<'a> {
    /// A plain scalar, in its own words.
    Plain(String),
    /// A text.
    Text(String),
    List(Vec<Packed<'a>>),
    Map(Map<'a>),
}

/// Keys in the order they came.
#[derive(Default)]
struct Map<'a> {
    keys: Vec<Key<'a>>,
    at: HashMap<String, usize>,
}

struct Key<'a> {
    name: String,
    value: Packed<'a>,
    origin: Origin<'a>,
}

/// What gave a key: a place in a file, or the path of one.
#[derive(Clone, Copy)]
struct Origin<'a> {
    file: &'a PackFile,
    start: Option<u32>,
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.start {
            None => f.write_str(&self.file.path),
            Some(start) => {
                let (line, column) = line_column(&self.file.text, start);
                write!(f, "{}:{line}:{column}", self.file.path)
            }
        }
    }
}

/// Packs files, which should come sorted. With `include`, a scalar that is one `<<include(path)>>` becomes
/// the text of that file; without, it is left alone.
///
/// # Errors
/// Everything that is wrong, each with its file and line.
pub fn pack(files: &[PackFile], include: Option<Include<'_>>) -> Result<String, Vec<String>> {
    let mut wrong = Vec::new();
    let mut root = Map::default();
    for file in files {
        let Some(content) = Reader::read(file, include, &mut wrong) else {
            continue;
        };
        if let Some(place) = place(&mut root, &keys(&file.path), file, &mut wrong) {
            merge(place, content, &mut wrong);
        }
    }
    if wrong.is_empty() && root.keys.is_empty() {
        wrong.push(String::from(
            "there is nothing to pack: no file holds a key (*.yml and *.yaml are looked at)",
        ));
    }
    written(&root, wrong)
}

/// Writes one orb with the orbs that it imports made exact, those of its inline orbs too: what a registry
/// keeps (language 12.6). `exact` says what a reference resolved to.
///
/// # Errors
/// The file is no map.
pub fn pin(file: &PackFile, exact: &dyn Fn(&str) -> Option<String>) -> Result<String, Vec<String>> {
    let mut wrong = Vec::new();
    let mut root = Reader::read(file, None, &mut wrong).unwrap_or_default();
    root.pin(exact);
    written(&root, wrong)
}

fn written(root: &Map<'_>, mut wrong: Vec<String>) -> Result<String, Vec<String>> {
    let mut out = String::new();
    block(&mut out, root, 0);
    if wrong.is_empty() && out.len() > MAX_RESULT {
        wrong.push(format!(
            "the result is larger than {} MiB",
            MAX_RESULT >> 20
        ));
    }
    if wrong.is_empty() {
        Ok(out)
    } else {
        Err(wrong)
    }
}

/// The keys a file's content goes below: its folders and its name, but for a file at the root and for
/// what begins with `@`.
fn keys(path: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = path.split('/').collect();
    let name = parts.pop().unwrap_or_default();
    let at_root = parts.is_empty();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    if !at_root {
        parts.push(stem);
    }
    parts.retain(|part| !part.starts_with('@'));
    parts
}

/// The map below these keys, made where it is missing.
fn place<'m, 'a>(
    map: &'m mut Map<'a>,
    keys: &[&str],
    file: &'a PackFile,
    wrong: &mut Vec<String>,
) -> Option<&'m mut Map<'a>> {
    let Some((name, rest)) = keys.split_first() else {
        return Some(map);
    };
    let at = match map.at.get(*name) {
        Some(at) => *at,
        None => map.push(Key {
            name: (*name).to_owned(),
            value: Packed::Map(Map::default()),
            origin: Origin { file, start: None },
        }),
    };
    let key = map.keys.get_mut(at)?;
    match &mut key.value {
        Packed::Map(inner) => place(inner, rest, file, wrong),
        Packed::Plain(_) | Packed::Text(_) | Packed::List(_) => {
            wrong.push(format!(
                "{}: it goes below the key {name}, which {} gives a value that is no map",
                file.path, key.origin
            ));
            None
        }
    }
}

fn merge<'a>(into: &mut Map<'a>, from: Map<'a>, wrong: &mut Vec<String>) {
    for key in from.keys {
        let at = into.at.get(&key.name).copied();
        let Some(known) = at.and_then(|at| into.keys.get_mut(at)) else {
            into.push(key);
            continue;
        };
        match (&mut known.value, key.value) {
            (Packed::Map(known), Packed::Map(more)) => merge(known, more, wrong),
            _ if wrong.len() >= MAX_WRONG => return,
            _ => wrong.push(format!(
                "{}: the key {} is given a second time, first at {}; remove one of the two",
                key.origin, key.name, known.origin
            )),
        }
    }
}

impl<'a> Map<'a> {
    fn push(&mut self, key: Key<'a>) -> usize {
        let at = self.keys.len();
        self.at.insert(key.name.clone(), at);
        self.keys.push(key);
        at
    }

    fn pin(&mut self, exact: &dyn Fn(&str) -> Option<String>) {
        let orbs = self.at.get("orbs").copied();
        let Some(Packed::Map(imports)) = orbs
            .and_then(|at| self.keys.get_mut(at))
            .map(|key| &mut key.value)
        else {
            return;
        };
        for import in &mut imports.keys {
            match &mut import.value {
                Packed::Text(reference) => {
                    if let Some(exact) = exact(reference) {
                        *reference = exact;
                    }
                }
                Packed::Map(inline) => inline.pin(exact),
                Packed::Plain(_) | Packed::List(_) => {}
            }
        }
    }
}

/// Reads one file.
struct Reader<'a> {
    file: &'a PackFile,
    include: Option<Include<'a>>,
    wrong: Vec<String>,
    /// Of the texts so far, each alias counted with what it stands for.
    bytes: usize,
}

impl<'a> Reader<'a> {
    fn read(
        file: &'a PackFile,
        include: Option<Include<'a>>,
        wrong: &mut Vec<String>,
    ) -> Option<Map<'a>> {
        let says_nothing = |line: &str| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || line == "---"
        };
        if file.text.lines().all(says_nothing) {
            return Some(Map::default());
        }
        let mut reader = Self {
            file,
            include,
            wrong: Vec::new(),
            bytes: 0,
        };
        let mut found = Vec::new();
        let root = match parse(FileId(0), &file.text, &mut found) {
            Ok(root) => Some(root),
            Err(fatal) => {
                found.push(*fatal);
                None
            }
        };
        for diagnostic in &found {
            let message = diagnostic.message.replace("the config", "this file");
            reader.complain(diagnostic.span, &message);
        }
        let content = root.map(|root| reader.value(&root));
        wrong.append(&mut reader.wrong);
        match content {
            Some(Packed::Map(map)) => Some(map),
            _ => None,
        }
    }

    fn origin(&self, span: Span) -> Origin<'a> {
        Origin {
            file: self.file,
            start: Some(span.start),
        }
    }

    fn complain(&mut self, span: Span, message: &str) {
        if self.wrong.len() >= MAX_WRONG {
            return;
        }
        let origin = self.origin(span);
        self.wrong.push(format!("{origin}: {message}"));
    }

    fn value(&mut self, node: &Node) -> Packed<'a> {
        if self.bytes > MAX_RESULT {
            return Packed::Plain(String::new());
        }
        if let Some(entries) = node.map() {
            let mut map = Map::default();
            for entry in entries {
                let value = self.value(&entry.value);
                map.push(Key {
                    name: entry.key.clone(),
                    value,
                    origin: self.origin(entry.key_span),
                });
            }
            return Packed::Map(map);
        }
        if let Some(items) = node.seq() {
            return Packed::List(items.iter().map(|item| self.value(item)).collect());
        }
        let (value, bytes) = match node.str() {
            Some(text) => {
                let text = self.text(text, node.span);
                let bytes = text.len();
                (Packed::Text(text), bytes)
            }
            None if node.is_null() => (Packed::Plain(String::from("null")), 0),
            None => (Packed::Plain(node.source_text().unwrap_or_default()), 0),
        };
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_RESULT {
            let most = MAX_RESULT >> 20;
            let message =
                format!("the texts up to here are larger than {most} MiB, aliases written out");
            self.complain(node.span, &message);
        }
        value
    }

    fn text(&mut self, text: &str, span: Span) -> String {
        let Some(include) = self.include.filter(|_| holds_include(text)) else {
            return text.to_owned();
        };
        let Some(path) = whole_include(text) else {
            self.complain(
                span,
                "<<include(path)>> stands alone: one in a value, and nothing else in it",
            );
            return String::new();
        };
        match include(path) {
            // What looks like a tag in a script is none.
            Ok(included) => included.replace("<<", "\\<<"),
            Err(why) => {
                self.complain(span, &format!("cannot include {path:?}: {why}"));
                String::new()
            }
        }
    }
}

/// Whether `<<include(` stands in a text, blanks aside, and is no escaped `\<<`.
fn holds_include(text: &str) -> bool {
    text.match_indices("<<").any(|(at, tag)| {
        let escaped = text.get(..at).is_some_and(|before| before.ends_with('\\'));
        let rest = text.get(at + tag.len()..).unwrap_or_default().trim_start();
        !escaped && rest.starts_with("include(")
    })
}

/// The path of a text that is one include.
fn whole_include(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("<<")?.strip_suffix(">>")?.trim();
    let path = inner.strip_prefix("include(")?.strip_suffix(')')?.trim();
    let one = !path.contains(['(', ')', '<', '>', '\n']);
    (one && !path.is_empty()).then_some(path)
}

fn block(out: &mut String, map: &Map<'_>, indent: usize) {
    for (at, key) in map.keys.iter().enumerate() {
        // The first key of a map in a list stands behind its dash.
        if at > 0 || !out.ends_with("- ") {
            pad(out, indent);
        }
        out.push_str(&scalar(&key.name));
        out.push(':');
        after(out, &key.value, indent);
    }
}

fn list(out: &mut String, items: &[Packed<'_>], indent: usize) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 || !out.ends_with("- ") {
            pad(out, indent);
        }
        out.push('-');
        match item {
            Packed::Map(map) if !map.keys.is_empty() => {
                out.push(' ');
                block(out, map, indent + 2);
            }
            Packed::List(items) if !items.is_empty() => {
                out.push(' ');
                list(out, items, indent + 2);
            }
            other => after(out, other, indent),
        }
    }
}

/// What follows a key or a dash, to the end of its lines.
fn after(out: &mut String, value: &Packed<'_>, indent: usize) {
    if out.len() > MAX_RESULT {
        return;
    }
    match value {
        Packed::Map(map) if !map.keys.is_empty() => {
            out.push('\n');
            block(out, map, indent + 2);
        }
        Packed::List(items) if !items.is_empty() => {
            out.push('\n');
            list(out, items, indent + 2);
        }
        Packed::Map(_) => out.push_str(" {}\n"),
        Packed::List(_) => out.push_str(" []\n"),
        Packed::Plain(text) => {
            out.push(' ');
            out.push_str(text);
            out.push('\n');
        }
        Packed::Text(text) if is_literal(text) => {
            let keep = if text.ends_with("\n\n") {
                "+"
            } else if text.ends_with('\n') {
                ""
            } else {
                "-"
            };
            out.push_str(&format!(" |{keep}\n"));
            for line in text.lines() {
                if !line.is_empty() {
                    pad(out, indent + 2);
                    out.push_str(line);
                }
                out.push('\n');
            }
        }
        Packed::Text(text) => {
            out.push(' ');
            out.push_str(&scalar(text));
            out.push('\n');
        }
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Whether a text of several lines reads back the same from a literal block.
fn is_literal(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\t', '\n'])
        && !text
            .lines()
            .any(|line| line.trim().is_empty() && !line.is_empty())
        && text
            .chars()
            .all(|c| c == '\n' || c == '\t' || !is_special(c))
}

/// Characters that YAML reads as line breaks, or not at all.
fn is_special(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// Plain where any YAML reads the same string, else in double quotes.
fn scalar(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "_-./ @+$()<>=!*&|'\"\\~;?%^".contains(c);
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
    );
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && !text.ends_with(' ')
        && !word
        && text.chars().all(safe);
    if plain {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_special(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
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
        let source = "steps:\n  - run: {command: << include( scripts/a.sh ) >>}\n  - run: \\<<include(x)>>\n";
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
            found[0].contains("larger than 4 MiB, aliases"),
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
}
