//! `orbs:` (language 12): references read, texts asked for, each orb a space of its own.

use capstan_model::plan::PinnedOrb;
use capstan_model::{Digest, FileId, Span};
use sha2::{Digest as _, Sha256};

use crate::ast::suggest;
use crate::budget::{MAX_IMPORTS, MAX_ORBS};
use crate::compiler::{Compiler, Scope};
use crate::sources::Answer;
use crate::space::{Import, Space, SpaceId};
use crate::yaml::{self, Entry, Ref};

/// Sections of an orb.
const SECTIONS: &[&str] = &[
    "jobs",
    "commands",
    "executors",
    "orbs",
    "version",
    "name",
    "description",
    "display",
    "examples",
];
/// Sections that only a config has.
const FORBIDDEN: &[&str] = &["workflows", "parameters", "job-groups"];
/// Most orbs by URL in one config (language 12.1).
const MAX_URLS: usize = 50;

/// What a reference asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reference {
    Registry,
    Url,
}

impl Compiler<'_> {
    /// Declares the orbs of a space. What has to be brought first is added to `missing`.
    pub(crate) fn declare_orbs(&mut self, space: SpaceId, node: &Ref, path: &[String]) {
        let Some(entries) = node.map() else {
            if !node.is_bad() {
                let message = "`orbs` is a map of alias to reference";
                let help = Some(String::from("write `orbs: {node: circleci/node@5}`"));
                self.error_help("E_SCHEMA", message, node.span, help);
            }
            return;
        };
        for entry in entries {
            if self.spent() {
                return;
            }
            if entry.key.contains('/') {
                let message = format!(
                    "an orb cannot be called [{}]: `/` is for its parts",
                    entry.key
                );
                self.schema(message, entry.key_span);
                continue;
            }
            if entry.key.chars().any(|c| c.is_ascii_uppercase()) {
                let message = format!("[{}] is an unusual name of an orb", entry.key);
                self.warn("W_NAME", message, entry.key_span);
            }
            let import = self.import(space, entry, path);
            if let Some(there) = self.spaces.get_mut(space.0 as usize) {
                there.orbs.insert(entry.key.clone(), import);
            }
        }
    }

    fn import(&mut self, space: SpaceId, entry: &Entry, path: &[String]) -> Import {
        if path.len() >= MAX_IMPORTS {
            let message = format!("orbs import each other deeper than {MAX_IMPORTS}");
            self.error("E_LIMIT", message, entry.key_span);
            return Import::Broken;
        }
        // An inline orb's parts are substituted with the elements they are in.
        if entry.value.map().is_some() {
            let mut path = path.to_vec();
            path.push(entry.key.to_string());
            return self.orb(String::from("inline"), &entry.value, &path);
        }
        let value = self.subst(&entry.value, &Scope::of(space));
        let Some(reference) = value.source_text().filter(|_| !value.is_null()) else {
            if !value.is_bad() {
                let message = format!(
                    "the orb {} is a reference or an inline orb, not a {}",
                    entry.key,
                    value.value.kind()
                );
                self.error("E_ORB_REF", message, value.span);
            }
            return Import::Broken;
        };
        let Some(kind) = self.reference(&reference, value.span) else {
            return Import::Broken;
        };
        self.answered(&reference, kind, value.span, path)
    }

    /// Reads a reference; what is wrong with it is reported.
    fn reference(&mut self, text: &str, span: Span) -> Option<Reference> {
        if text.starts_with("https://") {
            return Some(Reference::Url);
        }
        let why = match text.split_once('@') {
            _ if text.starts_with("http://") => "an orb by URL is fetched over https only",
            None => "it has no version",
            Some((name, version)) => match name.split_once('/') {
                Some((space, orb)) if part(space) && part(orb) => {
                    if is_version(version) {
                        return Some(Reference::Registry);
                    }
                    "its version is none of x, x.y, x.y.z, volatile and dev:label"
                }
                _ => "its name is not namespace/orb in lower case",
            },
        };
        let message = format!("[{text}] is no reference to an orb: {why}");
        let base = text.split('@').next().unwrap_or(text);
        let help = match text.split_once('@') {
            None => format!("write the version too: {base}@1.0.0"),
            Some(_) => String::from("write namespace/orb@1.2.3"),
        };
        self.error_help("E_ORB_REF", message, span, Some(help));
        None
    }

    fn answered(
        &mut self,
        reference: &str,
        kind: Reference,
        span: Span,
        path: &[String],
    ) -> Import {
        let top = path.is_empty();
        let absent = match self.sources.orb(reference) {
            None => {
                let urls = self.missing.iter().filter(|r| r.starts_with("https://"));
                let known = self.missing.iter().any(|other| other == reference);
                if kind == Reference::Url && !known && urls.count() + self.urls() >= MAX_URLS {
                    let message = format!("a config uses at most {MAX_URLS} orbs by URL");
                    self.error("E_LIMIT", message, span);
                } else if !known && self.missing.len() + self.files.len() >= MAX_ORBS {
                    let message = format!("a config uses at most {MAX_ORBS} orbs");
                    self.error("E_LIMIT", message, span);
                } else if !known {
                    self.missing.push(reference.to_owned());
                }
                return Import::Broken;
            }
            Some(Answer::Found { exact, file }) => {
                let (exact, file) = (exact.clone(), *file);
                return self.orb_file(reference, exact, file, span, path);
            }
            Some(Answer::NotFound) => Import::Absent {
                code: "E_ORB_NOT_FOUND",
                why: format!("Cannot find {reference} in the orb registry."),
                help: Some(String::from(
                    "check its name and version; `capstan orb info` lists what there is",
                )),
            },
            Some(answer @ (Answer::Refused(why) | Answer::Unavailable(why))) => Import::Absent {
                code: match answer {
                    Answer::Refused(_) => "E_ORB_REF",
                    _ => "E_ORB_NOT_FOUND",
                },
                why: format!("Cannot fetch {reference}: {why}"),
                help: None,
            },
        };
        // What an orb imports matters where the orb uses it; what the config declares matters here.
        match absent {
            Import::Absent { code, why, help } if top => {
                self.error_help(code, why, span, help);
                Import::Broken
            }
            absent => absent,
        }
    }

    fn urls(&self) -> usize {
        let pins = self.pins.iter();
        pins.filter(|pin| pin.reference.starts_with("https://"))
            .count()
    }

    fn orb_file(
        &mut self,
        reference: &str,
        exact: String,
        file: FileId,
        span: Span,
        path: &[String],
    ) -> Import {
        if path.contains(&exact) {
            let message = format!("Infinite loop detected: the orb {exact} imports itself");
            self.error("E_CYCLE", message, span);
            return Import::Broken;
        }
        let text = self.sources.get(file).map_or("", |file| file.text.as_str());
        if !self.pins.iter().any(|pin| pin.reference == reference) {
            self.pins.push(PinnedOrb {
                reference: reference.to_owned(),
                exact: exact.clone(),
                digest: Digest::of(Sha256::digest(text.as_bytes()).into()),
            });
        }
        if let Some(import) = self.files.get(&file) {
            return import.clone();
        }
        if self.files.len() >= MAX_ORBS {
            let message = format!("a config uses at most {MAX_ORBS} orbs");
            self.error("E_LIMIT", message, span);
            return Import::Broken;
        }
        let mut found = Vec::new();
        let root = yaml::parse(file, text, &mut found);
        // Duplicate keys and the like leave an orb readable; its author's mistakes are not the user's.
        let import = match root {
            Ok(root) if !self.spend(u64::from(root.weight), span) => Import::Broken,
            Ok(root) => {
                let mut path = path.to_vec();
                path.push(exact.clone());
                self.orb(exact, &root, &path)
            }
            Err(diagnostic) => {
                let message = format!("the orb {exact} cannot be read: {}", diagnostic.message);
                self.error(diagnostic.code, message, span);
                Import::Broken
            }
        };
        self.files.insert(file, import.clone());
        import
    }

    /// An orb's text as a space.
    fn orb(&mut self, reference: String, root: &Ref, path: &[String]) -> Import {
        let inline = reference == "inline";
        let entries = root.map().unwrap_or_default();
        let mut fine = true;
        for entry in entries {
            let key = entry.key.as_str();
            if FORBIDDEN.contains(&key) {
                let message = format!("an orb has no [{key}]; only a config has");
                self.schema(message, entry.key_span);
                fine = false;
            } else if inline && !SECTIONS.contains(&key) {
                let message = format!(
                    "extraneous key [{key}] is not permitted in an orb; permitted are {}",
                    SECTIONS.join(", ")
                );
                let help = suggest(key, SECTIONS.iter().copied());
                self.error_help("E_SCHEMA", message, entry.key_span, help);
                fine = false;
            }
        }
        if !fine {
            return Import::Broken;
        }
        let space = SpaceId(u32::try_from(self.spaces.len()).unwrap_or(u32::MAX));
        self.spaces.push(Space::named(reference));
        if let Some(orbs) = root.get("orbs") {
            self.declare_orbs(space, orbs, path);
        }
        self.tables(space, root);
        if inline {
            // The config's author wrote it, so all of it is looked at.
            self.recursion(space);
            self.define_all(space);
        }
        Import::Orb(space)
    }

    /// Takes a whole file as an orb and looks at all of it; for `validate_orb`.
    pub(crate) fn validate_orb(&mut self, root: &Ref) -> Option<SpaceId> {
        let span = Span {
            end: root.span.start,
            ..root.span
        };
        match root.get("version").map(|n| (n.source_text(), n.span)) {
            Some((Some(text), _)) if text == "2.1" => {}
            Some((_, span)) => {
                let help = Some(String::from("write `version: 2.1`"));
                self.error_help("E_VERSION", "an orb is written in version 2.1", span, help);
            }
            None => {
                let help = Some(String::from("start the file with `version: 2.1`"));
                self.error_help("E_SCHEMA", "required key [version] not found", span, help);
            }
        }
        let Import::Orb(space) = self.orb(String::from("this file"), root, &[]) else {
            return None;
        };
        self.recursion(space);
        self.define_all(space);
        Some(space)
    }
}

/// Whether a text can be one half of an orb's name.
fn part(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
}

fn is_version(text: &str) -> bool {
    if text == "volatile" {
        return true;
    }
    if let Some(label) = text.strip_prefix("dev:") {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        return !label.is_empty() && label.len() <= 1023 && label.chars().all(fits);
    }
    let numbers: Vec<&str> = text.split('.').collect();
    (1..=3).contains(&numbers.len())
        && numbers
            .iter()
            .all(|n| !n.is_empty() && n.len() <= 9 && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::{is_version, part};

    #[test]
    fn references_are_read_by_the_letter() {
        for fine in [
            "1",
            "1.2",
            "1.2.3",
            "volatile",
            "dev:first",
            "dev:a.b-c_1",
            "10.0.21",
        ] {
            assert!(is_version(fine), "{fine}");
        }
        for wrong in [
            "",
            "v1",
            "1.2.3.4",
            "1.",
            "latest",
            "dev:",
            "dev:UPPER",
            "1.2.x",
        ] {
            assert!(!is_version(wrong), "{wrong}");
        }
        assert!(part("circleci") && part("aws-s3") && !part("Up") && !part("") && !part("a b"));
    }
}
