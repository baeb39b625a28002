//! From byte offsets to lines and columns. A file's lines are counted once, however many findings it has,
//! and a column costs no more on a line of four megabytes than on one of forty characters.

use std::cell::OnceCell;
use std::ops::Range;

use capstan_model::{FileId, Span};
use serde_json::{Value, json};

use super::Diagnostic;
use crate::sources::Sources;

/// How many bytes lie between two counts of characters.
const BLOCK: usize = 4096;

/// What turns the findings of one compilation into text.
#[derive(Debug)]
pub struct Report<'a> {
    sources: &'a Sources,
    /// By [`FileId`], counted when first asked for.
    lines: Vec<OnceCell<Lines>>,
}

/// A stretch of a file as a person reads it, everything counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The file's name, `?` for a span of no file.
    pub file: &'a str,
    /// First line.
    pub line: u32,
    /// First column.
    pub column: u32,
    /// Line of the end.
    pub end_line: u32,
    /// One past the last column.
    pub end_column: u32,
}

impl<'a> Report<'a> {
    /// For findings whose spans point into `sources`.
    pub fn new(sources: &'a Sources) -> Self {
        let lines = sources.files().iter().map(|_| OnceCell::new()).collect();
        Self { sources, lines }
    }

    /// Where a span lies.
    pub fn place(&self, span: Span) -> Place<'a> {
        let (line, column) = self.position(span.file, span.start);
        let (end_line, end_column) = self.position(span.file, span.end);
        Place {
            file: self.name(span.file),
            line,
            column,
            end_line,
            end_column,
        }
    }

    /// As JSON: an object whose fields stay what they are.
    pub fn json(&self, found: &Diagnostic) -> Value {
        let at = self.place(found.span);
        let labels = found.labels.iter().map(|(span, message)| {
            let at = self.place(*span);
            json!({"message": message, "file": at.file, "line": at.line, "column": at.column,
                "end_line": at.end_line, "end_column": at.end_column})
        });
        let origin = found.origin.iter().map(|(message, span)| {
            let at = self.place(*span);
            json!({"message": message, "file": at.file, "line": at.line, "column": at.column})
        });
        json!({"code": found.code, "severity": found.severity.as_str(), "message": found.message,
            "file": at.file, "line": at.line, "column": at.column, "end_line": at.end_line,
            "end_column": at.end_column, "labels": labels.collect::<Vec<_>>(), "help": found.help,
            "origin": origin.collect::<Vec<_>>()})
    }

    pub(super) fn name(&self, file: FileId) -> &'a str {
        self.sources.get(file).map_or("?", |file| &file.name)
    }

    pub(super) fn text(&self, file: FileId) -> &'a str {
        self.sources.get(file).map_or("", |file| &file.text)
    }

    /// The bytes of a span, if it is a stretch of its file.
    pub(super) fn slice(&self, span: Span) -> Option<&'a str> {
        self.text(span.file)
            .get(span.start as usize..span.end as usize)
    }

    /// Line and column of an offset; one past the end of the file is the end.
    pub(super) fn position(&self, file: FileId, offset: u32) -> (u32, u32) {
        let text = self.text(file);
        let offset = (offset as usize).min(text.len());
        self.lines_of(file).map_or((1, 1), |lines| {
            let line = lines.line(offset);
            let column = lines.characters(text, lines.start(line), offset);
            (saturated(line + 1), saturated(column + 1))
        })
    }

    /// The bytes of the line, counted from 0, that holds `offset`, without its line break.
    pub(super) fn line_around(&self, file: FileId, offset: u32) -> (usize, Range<usize>) {
        let text = self.text(file);
        let line = self
            .lines_of(file)
            .map_or(0, |lines| lines.line((offset as usize).min(text.len())));
        (line, self.line(file, line))
    }

    /// The bytes of a line, counted from 0, without its line break.
    pub(super) fn line(&self, file: FileId, line: usize) -> Range<usize> {
        let text = self.text(file);
        let Some(lines) = self.lines_of(file) else {
            return 0..0;
        };
        let start = lines.start(line);
        let end = match lines.starts.get(line + 1) {
            Some(next) => next.saturating_sub(1),
            None => text.len(),
        };
        let shown = text.get(start..end).unwrap_or("");
        let shown = shown.strip_suffix('\r').unwrap_or(shown);
        start..start + shown.len()
    }

    fn lines_of(&self, file: FileId) -> Option<&Lines> {
        let cell = self.lines.get(file.0 as usize)?;
        Some(cell.get_or_init(|| Lines::of(self.text(file))))
    }
}

/// Where the lines of a text start, and how many characters stand before each block.
#[derive(Debug)]
struct Lines {
    starts: Vec<usize>,
    before: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0)
            .chain(breaks.map(|(at, _)| at + 1))
            .collect();
        let mut count = 0;
        let mut before = Vec::with_capacity(text.len() / BLOCK + 1);
        for block in text.as_bytes().chunks(BLOCK) {
            before.push(count);
            count += characters(block);
        }
        before.push(count);
        Self { starts, before }
    }

    fn line(&self, offset: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= offset)
            .saturating_sub(1)
    }

    fn start(&self, line: usize) -> usize {
        self.starts.get(line).copied().unwrap_or(0)
    }

    /// The characters that start in `from..to`.
    fn characters(&self, text: &str, from: usize, to: usize) -> usize {
        let up_to = |at: usize| {
            let block = at / BLOCK;
            let rest = text.as_bytes().get(block * BLOCK..at).unwrap_or_default();
            self.before.get(block).copied().unwrap_or(0) + characters(rest)
        };
        up_to(to).saturating_sub(up_to(from))
    }
}

/// Continuation bytes of UTF-8 do not start a character.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte & 0xC0) != 0x80).count()
}

fn saturated(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use capstan_model::FileId;
    use capstan_model::source::line_column;

    use super::{BLOCK, Report};
    use crate::Sources;

    #[test]
    fn positions_are_those_of_the_slow_count() {
        let long = "ü".repeat(BLOCK);
        let texts = [
            "",
            "\n",
            "a: ü\r\nb: x\n\n",
            "no end",
            &format!("a\n{long}{long}\nb"),
            &long,
        ];
        for text in texts {
            let sources = Sources::new("f", text);
            let report = Report::new(&sources);
            let step = (text.len() / 50).max(1);
            for offset in (0..text.len() + 3).step_by(step) {
                let offset = u32::try_from(offset).unwrap();
                let found = report.position(FileId(0), offset);
                assert_eq!(
                    found,
                    line_column(text, offset),
                    "{offset} of {}",
                    text.len()
                );
            }
        }
    }

    #[test]
    fn a_line_ends_before_its_break() {
        let sources = Sources::new("f", "a\r\nbc\n");
        let report = Report::new(&sources);
        assert_eq!(report.line(FileId(0), 0), 0..1);
        assert_eq!(report.line(FileId(0), 1), 3..5);
        assert_eq!(report.line(FileId(0), 2), 6..6);
        assert_eq!(report.line_around(FileId(0), 4), (1, 3..5));
    }
}
