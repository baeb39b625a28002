//! Where a compiled thing came from: files, byte spans, and one parent-linked table of origins.

use serde::{Deserialize, Serialize};

/// A source text of one compilation: the config, or an orb. An index into [`Origins::files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileId(pub u32);

/// A stretch of bytes in a file: `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// A row of [`Origins::table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OriginId(pub u32);

/// How a piece of the plan came to stand where it is: written at `span`, because of `parent`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// What led here, `None` for what the config itself says.
    pub parent: Option<OriginId>,
    /// What kind of expansion it was.
    pub kind: OriginKind,
    /// The text: for an invocation the place of the call, for a leaf the place it was written.
    pub span: Span,
}

/// The expansions that can lie between a line of a file and a line of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OriginKind {
    /// Written there as it is.
    Written,
    /// A workflow of this name.
    Workflow(String),
    /// A job of this name, invoked.
    Job(String),
    /// A command of this name, called.
    Command(String),
    /// An executor of this name, used.
    Executor(String),
    /// A matrix cell: parameter names with their values as text, in order.
    Matrix(Vec<(String, String)>),
    /// The value of a parameter, given or defaulted.
    Parameter(String),
    /// Pre-steps or post-steps of an invocation.
    AroundSteps(String),
    /// A `when` or `unless` step that was kept.
    Condition,
    /// An orb element, `alias/name`, with the reference the alias resolved to.
    Orb {
        /// `alias/name`.
        name: String,
        /// `ns/orb@1.2.3`, `inline` or a URL.
        reference: String,
    },
    /// An orb command that Capstan runs natively.
    Shim(String),
}

/// A source text by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceFile {
    /// As a person would name it: a path relative to the project root, or `ns/orb@1.2.3`.
    pub name: String,
    /// The whole text, kept so that a stored plan explains itself.
    pub text: String,
}

/// Every source of a plan and every origin in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origins {
    /// By [`FileId`].
    pub files: Vec<SourceFile>,
    /// By [`OriginId`]; a parent always has a lower index.
    pub table: Vec<Origin>,
}

/// A place as a person reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// The file's name.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Origins {
    /// Adds a row and returns its id.
    pub fn push(&mut self, origin: Origin) -> OriginId {
        let id = OriginId(u32::try_from(self.table.len()).unwrap_or(u32::MAX));
        self.table.push(origin);
        id
    }

    /// The row, if the id belongs to this table.
    pub fn get(&self, id: OriginId) -> Option<&Origin> {
        self.table.get(id.0 as usize)
    }

    /// The chain from `id` up to what the config itself says, nearest first.
    pub fn chain(&self, id: OriginId) -> impl Iterator<Item = &Origin> {
        let mut next = self.get(id);
        std::iter::from_fn(move || {
            let here = next?;
            next = here.parent.and_then(|parent| self.get(parent));
            Some(here)
        })
    }

    /// File, line and column of the first byte of a span.
    pub fn locate(&self, span: Span) -> Location {
        let Some(file) = self.files.get(span.file.0 as usize) else {
            return Location {
                file: String::from("?"),
                line: 0,
                column: 0,
            };
        };
        let (line, column) = line_column(&file.text, span.start);
        Location {
            file: file.name.clone(),
            line,
            column,
        }
    }
}

/// Line and column, both from 1, of a byte offset; the column counts characters.
pub fn line_column(text: &str, offset: u32) -> (u32, u32) {
    let bytes = text.as_bytes();
    let end = (offset as usize).min(bytes.len());
    let before = &bytes[..end];
    let line = before.iter().filter(|b| **b == b'\n').count();
    let line_start = before
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    // Continuation bytes of UTF-8 do not start a character.
    let column = before[line_start..]
        .iter()
        .filter(|b| (**b & 0xC0) != 0x80)
        .count();
    (saturate(line + 1), saturate(column + 1))
}

fn saturate(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::line_column;

    #[test]
    fn lines_and_columns_count_from_one_and_by_character() {
        let text = "a: ü\nb: x\n";
        assert_eq!(line_column(text, 0), (1, 1));
        assert_eq!(line_column(text, 5), (1, 5));
        assert_eq!(line_column(text, 6), (2, 1));
        assert_eq!(line_column(text, 9999), (3, 1));
    }
}
