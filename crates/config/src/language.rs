//! The language as a table: every map it has, the keys of each, what they take and what they are for. It
//! says what stands where; what it means is said by the code that expands it.

mod root;
mod runs;
mod steps;
mod workflows;

pub(crate) use root::{JOB, ROOT};
pub(crate) use steps::{CONDITIONAL, MATCHES, STEPS};

use crate::diagnostic::{did_you_mean, nearest};

/// A map of the language.
#[derive(Debug)]
pub(crate) struct Map {
    /// What it is called in messages and in the schema.
    pub(crate) name: &'static str,
    /// One line.
    pub(crate) doc: &'static str,
    /// In the order a reader meets them.
    pub(crate) keys: &'static [Key],
    /// What happens to other keys.
    pub(crate) others: Others,
}

/// What keys that are not listed come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// They are errors.
    Refused,
    /// They are ignored with a warning.
    Ignored,
    /// They are arguments.
    Arguments,
}

/// A key of a map.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    /// One line.
    pub(crate) doc: &'static str,
    pub(crate) need: Need,
}

/// Whether a key has to be there, or should rather not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
    Deprecated,
}

/// What a key takes. In version 2.1 a tag may stand for any of it, where tags are looked at.
#[derive(Debug)]
pub(crate) enum Takes {
    /// Whatever there is.
    Any,
    /// A string.
    Str,
    /// A scalar, as its text.
    Text,
    /// Text that is not looked at for tags.
    Prose,
    Bool,
    /// An integer in a range.
    Int(i64, i64),
    /// One of these words.
    Words(&'static [&'static str]),
    /// A string of this shape, as a regular expression.
    Shape(&'static str),
    /// A list, with how many items it has at least.
    List(&'static Takes, usize),
    /// One, or a list of them.
    Several(&'static Takes),
    Map(&'static Map),
    /// A map from names to these.
    Named(&'static Takes),
    /// A map of exactly one name to this, or to nothing.
    Single(&'static Takes),
    Either(&'static [Takes]),
    /// A step.
    Step,
    /// A logic statement, or an expression.
    Logic,
}

/// Words that other systems use for a key of this language.
const FOREIGN: &[(&str, &str)] = &[
    ("env", "environment"),
    ("vars", "environment"),
    ("cmd", "command"),
    ("script", "command"),
    ("args", "command"),
    ("needs", "requires"),
    ("depends_on", "requires"),
    ("cwd", "working_directory"),
    ("working_dir", "working_directory"),
    ("workdir", "working_directory"),
    ("dir", "working_directory"),
    ("size", "resource_class"),
    ("timeout", "no_output_timeout"),
    ("if", "when"),
    ("strategy", "matrix"),
    ("values", "enum"),
    ("options", "enum"),
];

/// What to do about a key that a closed map does not have.
pub(crate) fn advice(key: &str, permitted: &[&str]) -> String {
    let foreign = FOREIGN.iter().find(|(word, _)| *word == key);
    let meant = foreign
        .map(|(_, word)| *word)
        .filter(|word| permitted.contains(word))
        .or_else(|| nearest(key, permitted.iter().copied()));
    if let Some(meant) = meant {
        return did_you_mean(meant);
    }
    if permitted.contains(&"type") && permitted.contains(&"enum") {
        return String::from("`type` and `default` stand directly below the parameter's name");
    }
    if permitted.contains(&"image") || permitted.contains(&"docker") {
        return format!("remove `{key}`; what a job needs is in its image, or in its steps");
    }
    format!("remove `{key}`, or move it where it belongs")
}

const fn key(name: &'static str, takes: Takes, doc: &'static str) -> Key {
    Key {
        name,
        takes,
        doc,
        need: Need::Optional,
    }
}

const fn required(name: &'static str, takes: Takes, doc: &'static str) -> Key {
    Key {
        name,
        takes,
        doc,
        need: Need::Required,
    }
}

const fn deprecated(name: &'static str, takes: Takes, doc: &'static str) -> Key {
    Key {
        name,
        takes,
        doc,
        need: Need::Deprecated,
    }
}

const fn closed(name: &'static str, doc: &'static str, keys: &'static [Key]) -> Map {
    Map {
        name,
        doc,
        keys,
        others: Others::Refused,
    }
}

#[cfg(test)]
mod tests;
