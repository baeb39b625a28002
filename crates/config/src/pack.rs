//! Many files into one (language 15): each becomes keys along its path. Values keep the words they were
//! written in (`3.10` stays `3.10`); anchors and merges are written out, comments are lost.

#[cfg(test)]
mod tests;
mod write;

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
    write::block(&mut out, root, 0);
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
                    name: entry.key.to_string(),
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
