//! Definitions that nothing uses (language 2.5).
//!
//! What a trigger drops is still used: the rule follows names through the text, whatever conditions say.
//! Each node is looked at once, however often aliases repeat it.

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::compiler::Compiler;
use crate::yaml::{Entry, Ref, Value};

const SECTIONS: [&str; 4] = ["jobs", "job-groups", "commands", "executors"];
/// Longer texts are scripts, which name nothing.
const LONGEST_NAME: usize = 256;

pub(crate) fn check(compiler: &mut Compiler<'_>, root: &Ref) {
    let tables = Tables::of(root, compiler.v2);
    let declared = root.get("orbs").and_then(|n| n.map()).unwrap_or_default();
    let mut walk = Walk {
        tables: &tables,
        elements: vec![false; tables.entries.len()],
        orbs: (!declared.is_empty()).then(HashSet::new),
        seen: HashSet::new(),
    };
    match root.get("workflows").and_then(|node| node.map()) {
        Some(workflows) if workflows.iter().any(|e| e.key != "version") => {
            workflows
                .iter()
                .for_each(|workflow| walk.node(&workflow.value));
        }
        _ => walk.word("build"),
    }
    let (reached, orbs) = (walk.elements, walk.orbs.unwrap_or_default());
    // Made only where something is unused, which is rare.
    let mentions = LazyCell::new(|| Mentions::of(&tables));
    for (index, (section, entry)) in tables.entries.iter().enumerate() {
        if reached.get(index) == Some(&true) {
            unused_parameters(compiler, entry);
            continue;
        }
        let word = section.strip_suffix('s').unwrap_or(section);
        tell(
            compiler,
            word,
            entry,
            mentions.by_another(&entry.key, index),
        );
    }
    if compiler.v2 {
        return;
    }
    for entry in declared {
        if !orbs.contains(entry.key.as_str()) {
            tell(
                compiler,
                "orb",
                entry,
                mentions.orbs.contains(entry.key.as_str()),
            );
        }
    }
    let parameters = root
        .get("parameters")
        .and_then(|n| n.map())
        .unwrap_or_default();
    if parameters.is_empty() {
        return;
    }
    let mut named = HashSet::new();
    let others = root.map().unwrap_or_default();
    let mut seen = HashSet::new();
    for section in others.iter().filter(|e| e.key != "parameters") {
        let mut names = |bare| {
            let prefix = "pipeline.parameters.";
            parameter_names(&section.value, prefix, bare, &mut named, &mut seen);
        };
        // Conditions and filters of workflows are expressions without tags, too.
        names(section.key == "workflows" || section.key == "job-groups");
    }
    for entry in parameters
        .iter()
        .filter(|e| plain(&e.key) && !named.contains(e.key.as_str()))
    {
        tell(compiler, "pipeline parameter", entry, false);
    }
}

fn tell(compiler: &mut Compiler<'_>, word: &str, entry: &Entry, mentioned: bool) {
    let (code, what) = if mentioned {
        ("W_UNREACHED", "is used only by what no workflow reaches")
    } else {
        ("W_UNUSED", "is not used")
    };
    let message = format!("the {word} [{}] {what}", entry.key);
    compiler.warn(code, message, entry.key_span);
}

/// Parameters of an element that its text never names.
fn unused_parameters(compiler: &mut Compiler<'_>, element: &Entry) {
    let declared = element.value.get("parameters").and_then(|n| n.map());
    let declared = declared.unwrap_or_default();
    if declared.is_empty() || compiler.v2 {
        return;
    }
    if !element.value.tags {
        for parameter in declared.iter().filter(|e| plain(&e.key)) {
            tell(compiler, "parameter", parameter, false);
        }
        return;
    }
    let mut named = HashSet::new();
    let mut seen = HashSet::new();
    let fields = element.value.map().unwrap_or_default();
    for field in fields.iter().filter(|e| e.key != "parameters") {
        parameter_names(&field.value, "parameters.", false, &mut named, &mut seen);
    }
    for parameter in declared
        .iter()
        .filter(|e| plain(&e.key) && !named.contains(e.key.as_str()))
    {
        tell(compiler, "parameter", parameter, false);
    }
}

/// Whether a name can be told from what stands around it.
fn plain(name: &str) -> bool {
    name.chars().all(in_name)
}

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// Whether this is the first look at a node. Those that nothing shares are looked at once anyway.
fn first_look(node: &Ref, seen: &mut HashSet<*const ()>) -> bool {
    Rc::strong_count(node) == 1 || seen.insert(Rc::as_ptr(node).cast())
}

/// Collects the names that follow `prefix` anywhere below: in tags, and if `bare` without them.
fn parameter_names<'a>(
    node: &'a Ref,
    prefix: &str,
    bare: bool,
    out: &mut HashSet<&'a str>,
    seen: &mut HashSet<*const ()>,
) {
    if !node.tags && !bare {
        return;
    }
    match node.open() {
        Value::Str(text) => names_in(text, prefix, out),
        Value::Seq(items) if first_look(node, seen) => {
            for item in items {
                parameter_names(item, prefix, bare, out, seen);
            }
        }
        Value::Map(entries) if first_look(node, seen) => {
            for entry in entries {
                names_in(&entry.key, prefix, out);
                parameter_names(&entry.value, prefix, bare, out, seen);
            }
        }
        _ => {}
    }
}

fn names_in<'a>(text: &'a str, prefix: &str, out: &mut HashSet<&'a str>) {
    if text.len() <= prefix.len() {
        return;
    }
    for (at, _) in text.match_indices(prefix) {
        let rest = text.get(at + prefix.len()..).unwrap_or("");
        let end = rest.find(|c| !in_name(c)).unwrap_or(rest.len());
        out.extend(rest.get(..end));
    }
}

/// The definitions as written.
struct Tables<'a> {
    entries: Vec<(&'static str, &'a Entry)>,
    /// Indexes of the definitions of a name, of whatever kind.
    by_name: HashMap<&'a str, Vec<usize>>,
    shapes: Shapes,
}

/// The lengths and the first bytes that names have, which tells most words of a config from them.
struct Shapes {
    lengths: [bool; LONGEST_NAME + 1],
    starts: [bool; 256],
}

impl Shapes {
    fn none() -> Self {
        Self {
            lengths: [false; LONGEST_NAME + 1],
            starts: [false; 256],
        }
    }

    fn add(&mut self, name: &str) {
        if let Some(length) = self.lengths.get_mut(name.len()) {
            *length = true;
        }
        let start = name.bytes().next().unwrap_or(0);
        if let Some(start) = self.starts.get_mut(usize::from(start)) {
            *start = true;
        }
    }

    fn fit(&self, word: &str) -> bool {
        let start = word.bytes().next().unwrap_or(0);
        self.lengths.get(word.len()) == Some(&true)
            && self.starts.get(usize::from(start)) == Some(&true)
    }
}

impl<'a> Tables<'a> {
    fn of(root: &'a Ref, v2: bool) -> Self {
        let mut tables = Self {
            entries: Vec::new(),
            by_name: HashMap::new(),
            shapes: Shapes::none(),
        };
        for section in SECTIONS
            .into_iter()
            .take(if v2 { 1 } else { SECTIONS.len() })
        {
            for entry in root.get(section).and_then(|n| n.map()).unwrap_or_default() {
                tables.shapes.add(&entry.key);
                let same = tables.by_name.entry(entry.key.as_str()).or_default();
                same.push(tables.entries.len());
                tables.entries.push((section, entry));
            }
        }
        tables
    }
}

/// Follows every word that names an element; a word may name several of different kinds.
struct Walk<'t, 'a> {
    tables: &'t Tables<'a>,
    /// Whether each definition was reached.
    elements: Vec<bool>,
    /// What stands before a slash, in a config with orbs.
    orbs: Option<HashSet<&'a str>>,
    seen: HashSet<*const ()>,
}

impl<'a> Walk<'_, 'a> {
    fn node(&mut self, node: &'a Ref) {
        match node.open() {
            Value::Str(text) => self.word(text),
            Value::Seq(items) if first_look(node, &mut self.seen) => {
                items.iter().for_each(|item| self.node(item));
            }
            Value::Map(entries) if first_look(node, &mut self.seen) => {
                for entry in entries {
                    self.word(&entry.key);
                    self.node(&entry.value);
                }
            }
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                // A name may look like a number, and no orb does.
                match node.plain.as_deref() {
                    Some(text) => self.reach(text),
                    None => self.reach(&node.source_text().unwrap_or_default()),
                }
            }
            _ => {}
        }
    }

    fn word(&mut self, text: &'a str) {
        if text.len() > LONGEST_NAME {
            return;
        }
        if let Some(orbs) = &mut self.orbs {
            orbs.extend(text.split_once('/').map(|(orb, _)| orb));
        }
        self.reach(text);
    }

    /// Follows the elements of a name.
    fn reach(&mut self, name: &str) {
        if !self.tables.shapes.fit(name) {
            return;
        }
        let tables = self.tables;
        let indexes = tables.by_name.get(name).map(Vec::as_slice);
        for index in indexes.unwrap_or_default() {
            let first = self.elements.get_mut(*index).filter(|reached| !**reached);
            if let (Some(reached), Some((_, entry))) = (first, tables.entries.get(*index)) {
                *reached = true;
                self.node(&entry.value);
            }
        }
    }
}

/// Which names the definitions mention, reached or not.
struct Mentions<'a> {
    /// The first definition that mentions a name, and whether another one does too.
    elements: HashMap<&'a str, (usize, bool)>,
    orbs: HashSet<&'a str>,
}

impl<'a> Mentions<'a> {
    fn of(tables: &Tables<'a>) -> Self {
        let mut mentions = Self {
            elements: HashMap::new(),
            orbs: HashSet::new(),
        };
        for (index, (_, entry)) in tables.entries.iter().enumerate() {
            let mut seen = HashSet::new();
            mentions.node(&entry.value, index, &mut seen);
        }
        mentions
    }

    fn node(&mut self, node: &'a Ref, by: usize, seen: &mut HashSet<*const ()>) {
        match node.open() {
            Value::Str(text) => self.word(text, by),
            Value::Seq(items) if first_look(node, seen) => {
                items.iter().for_each(|item| self.node(item, by, seen));
            }
            Value::Map(entries) if first_look(node, seen) => {
                for entry in entries {
                    self.word(&entry.key, by);
                    self.node(&entry.value, by, seen);
                }
            }
            _ => {}
        }
    }

    fn word(&mut self, text: &'a str, by: usize) {
        if text.len() > LONGEST_NAME {
            return;
        }
        if let Some((orb, _)) = text.split_once('/') {
            self.orbs.insert(orb);
        }
        let first = self.elements.entry(text).or_insert((by, false));
        first.1 |= first.0 != by;
    }

    fn by_another(&self, name: &str, me: usize) -> bool {
        self.elements
            .get(name)
            .is_some_and(|(first, more)| *first != me || *more)
    }
}
