//! Findings drawn under the source for a terminal, by the renderer that rustc uses. What is drawn is an
//! excerpt made here: lines of a stranger's text without what a terminal could take for a command, and
//! never more of a line than can be looked at.

use std::collections::BTreeMap;
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Patch, Renderer, Snippet};
use capstan_model::{FileId, Span};

use super::{Diagnostic, Mend, Report, Severity};

/// Most findings drawn of one file.
const MOST: usize = 100;
/// Lines between two marks up to which they share an excerpt.
const NEAR: usize = 60;
/// Longest line that is left whole, in bytes; the renderer trims it further to the terminal.
const WHOLE: usize = 400;
/// What is kept of a longer one before its first mark and behind its last, in bytes.
const AROUND: usize = 60;
/// Longest mark on a long line, in bytes.
const MARKED: usize = 200;
/// Most calls that are listed.
const CALLS: usize = 8;

/// How to draw.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Whether colours are written.
    pub color: bool,
    /// Columns of the terminal.
    pub width: usize,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            color: false,
            width: 120,
        }
    }
}

/// A stretch of one line to point at.
struct Mark {
    primary: bool,
    bytes: Range<usize>,
    label: String,
}

impl Report<'_> {
    /// All of them in order, at most a hundred a file, errors before others; then how many more there are.
    pub fn draw_all(&self, found: &[Diagnostic], look: Look) -> Vec<String> {
        let mut ranked: Vec<usize> = (0..found.len()).collect();
        let severity = |at: &usize| found.get(*at).map(|one| one.severity);
        ranked.sort_by_key(|at| std::cmp::Reverse(severity(at)));
        let mut taken: BTreeMap<FileId, usize> = BTreeMap::new();
        let mut kept = Vec::new();
        for at in ranked {
            let Some(one) = found.get(at) else { continue };
            let count = taken.entry(one.span.file).or_default();
            *count += 1;
            if *count <= MOST {
                kept.push(at);
            }
        }
        kept.sort_unstable();
        let mut drawn: Vec<String> = kept
            .iter()
            .filter_map(|at| found.get(*at))
            .map(|one| self.draw(one, look))
            .collect();
        for (file, count) in taken.into_iter().filter(|(_, count)| *count > MOST) {
            let name = neutral(self.name(file));
            drawn.push(format!("… and {} more in {name}", count - MOST));
        }
        drawn
    }

    /// One finding: the title, the source with what points into it, the calls that led there, and how to
    /// mend it.
    pub fn draw(&self, found: &Diagnostic, look: Look) -> String {
        let level = match found.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Unsupported => Level::WARNING.with_name("unsupported"),
        };
        let title = level.primary_title(neutral(&found.message)).id(found.code);
        let mut group = Group::with_title(title);
        let drawn_call = self.call_to_draw(found);
        let mut places = Vec::new();
        for (file, marks) in self.marks(found, drawn_call) {
            for cluster in clusters(marks) {
                let (snippet, place) = self.excerpt(file, &cluster);
                group = group.element(snippet);
                places.extend(place);
            }
        }
        if let Some(calls) = self.calls(found, drawn_call) {
            group = group.element(Level::NOTE.message(calls));
        }
        let mend = self.mend(found);
        let said = mend.as_ref().and_then(|(_, help)| *help);
        for (_, help) in found
            .help
            .iter()
            .enumerate()
            .filter(|(at, _)| Some(*at) != said)
        {
            group = group.element(Level::HELP.message(neutral(help)));
        }
        let mut groups = vec![group];
        if let Some((mend, _)) = mend {
            let words = said.and_then(|at| found.help.get(at));
            let words = words.map_or_else(|| String::from("write it so"), |help| neutral(help));
            groups.extend(self.patch(&mend, words));
        }
        let renderer = if look.color {
            Renderer::styled().hyperlink(false)
        } else {
            Renderer::plain()
        };
        let width = look.width.clamp(60, 200);
        let mut text = renderer.term_width(width).render(&groups);
        for (written, is) in places {
            text = text.replacen(&written, &is, 1);
        }
        text.push('\n');
        text
    }

    /// The index of the call that is drawn: the innermost, unless it is the job's own entry in a workflow,
    /// which says nothing about a mistake in the job.
    fn call_to_draw(&self, found: &Diagnostic) -> Option<usize> {
        let at = found.origin.len().checked_sub(1)?;
        let (_, span) = found.origin.get(at)?;
        let elsewhere = span.file != found.span.file;
        let here = self.place(*span).line == self.place(found.span).line && !elsewhere;
        ((elsewhere || at >= 2) && !here).then_some(at)
    }

    /// What to point at, by file, the finding's own file first.
    fn marks(&self, found: &Diagnostic, call: Option<usize>) -> Vec<(FileId, Vec<(usize, Mark)>)> {
        let call = call.and_then(|at| found.origin.get(at));
        let labels = found
            .labels
            .iter()
            .map(|(span, label)| (false, *span, label));
        let all = std::iter::once((true, found.span, &found.label))
            .chain(labels)
            .chain(call.map(|(call, span)| (false, *span, call)));
        let mut files: Vec<(FileId, Vec<(usize, Mark)>)> = Vec::new();
        for (primary, span, label) in all {
            let (line, range) = self.line_around(span.file, span.start);
            let start = (span.start as usize).clamp(range.start, range.end);
            // What spans several lines is pointed at where it starts.
            let end = (span.end as usize).clamp(start, range.end);
            let label = neutral(label);
            let mark = Mark {
                primary,
                bytes: start..end,
                label,
            };
            match files.iter_mut().find(|(file, _)| *file == span.file) {
                Some((_, marks)) => marks.push((line, mark)),
                None => files.push((span.file, vec![(line, mark)])),
            }
        }
        files
    }

    /// The lines from the first mark to the last. Where a long line was cut, the renderer counts columns in
    /// what is left of it; the second value is the place as it will write it, and as it is.
    fn excerpt(
        &self,
        file: FileId,
        marks: &[(usize, Mark)],
    ) -> (
        Snippet<'static, Annotation<'static>>,
        Option<(String, String)>,
    ) {
        let first = marks.first().map_or(0, |(line, _)| *line);
        let last = marks.last().map_or(first, |(line, _)| *line);
        let name = neutral(self.name(file));
        let named = marks.iter().position(|(_, mark)| mark.primary).unwrap_or(0);
        let mut text = String::new();
        let mut annotations = Vec::new();
        let mut place = None;
        for line in first..=last {
            let here = marks.iter().enumerate().filter(|(_, (at, _))| *at == line);
            let here: Vec<(usize, &Mark)> = here.map(|(i, (_, mark))| (i, mark)).collect();
            let shown = Shown::of(self.text(file), self.line(file, line), &here);
            for (i, mark) in here {
                let kind = if mark.primary {
                    AnnotationKind::Primary
                } else {
                    AnnotationKind::Context
                };
                let range = shown.range(&mark.bytes);
                if i == named && shown.cut {
                    let before = shown.text.get(..range.start).unwrap_or("");
                    let offset = u32::try_from(mark.bytes.start).unwrap_or(u32::MAX);
                    let (line, column) = self.position(file, offset);
                    let written = before.chars().count() + 1;
                    place = Some((
                        format!("{name}:{line}:{written}"),
                        format!("{name}:{line}:{column}"),
                    ));
                }
                let range = range.start + text.len()..range.end + text.len();
                let label = Some(mark.label.clone()).filter(|label| !label.is_empty());
                annotations.push(kind.span(range).label(label));
            }
            text.push_str(&shown.text);
            text.push('\n');
        }
        let snippet = Snippet::source(text)
            .path(name)
            .line_start(first + 1)
            .annotations(annotations);
        (snippet, place)
    }

    fn patch(&self, mend: &Mend, words: String) -> Option<Group<'static>> {
        let Span { file, start, end } = mend.span;
        let (line, range) = self.line_around(file, start);
        let (start, end) = (start as usize, end as usize);
        if end > range.end || start > end {
            return None;
        }
        let mark = Mark {
            primary: true,
            bytes: start..end,
            label: String::new(),
        };
        let shown = Shown::of(self.text(file), range, &[(0, &mark)]);
        let patch = Patch::new(shown.range(&mark.bytes), neutral(&mend.replacement));
        let snippet = Snippet::source(shown.text)
            .line_start(line + 1)
            .patch(patch);
        Some(Group::with_title(Level::HELP.secondary_title(words)).element(snippet))
    }

    /// The calls that led there, outermost first, without the one that is drawn and without the finding's
    /// own place.
    fn calls(&self, found: &Diagnostic, drawn: Option<usize>) -> Option<String> {
        let all: Vec<String> = found
            .origin
            .iter()
            .enumerate()
            .filter(|(at, (_, span))| Some(*at) != drawn && *span != found.span)
            .map(|(_, (call, span))| {
                let at = self.place(*span);
                let call = neutral(call);
                if span.file == found.span.file {
                    format!("{call} (line {})", at.line)
                } else {
                    format!("{call} ({}:{})", neutral(at.file), at.line)
                }
            })
            .collect();
        let left = all.len().saturating_sub(CALLS);
        if left == 0 {
            return (!all.is_empty()).then(|| all.join("\n"));
        }
        let half = CALLS / 2;
        let mut lines: Vec<String> = all.iter().take(half).cloned().collect();
        lines.push(format!("… {left} calls …"));
        lines.extend(all.iter().skip(half + left).cloned());
        Some(lines.join("\n"))
    }
}

/// A line as it is shown: neutral, and cut where it is long.
struct Shown {
    text: String,
    /// Where each shown character of the file starts: there, and in `text`.
    starts: Vec<(usize, usize)>,
    cut: bool,
}

impl Shown {
    fn of(text: &str, line: Range<usize>, marks: &[(usize, &Mark)]) -> Self {
        let from = line.start;
        let mut window = line;
        let whole = window.len() <= WHOLE;
        if !whole {
            let marks = || marks.iter().map(|(_, mark)| &mark.bytes);
            let first = marks().map(|bytes| bytes.start).min().unwrap_or(from);
            let last = marks()
                .map(|bytes| bytes.end.min(bytes.start + MARKED))
                .max()
                .unwrap_or(from);
            // Marks far apart on one long line: the first is kept.
            let last = last.min(first + WHOLE);
            window.start = boundary(text, first.saturating_sub(AROUND).max(from));
            window.end = boundary(text, (last + AROUND).min(window.end));
        }
        let mut shown = Self {
            text: String::new(),
            starts: Vec::new(),
            cut: !whole,
        };
        if window.start > from {
            shown.text.push('…');
        }
        for (at, c) in text.get(window.clone()).unwrap_or("").char_indices() {
            shown.starts.push((window.start + at, shown.text.len()));
            shown.text.push(if c == '\t' { c } else { harmless(c) });
        }
        shown.starts.push((window.end, shown.text.len()));
        if !whole {
            shown.text.push('…');
        }
        shown
    }

    /// A stretch of the file as a stretch of the shown text.
    fn range(&self, bytes: &Range<usize>) -> Range<usize> {
        let at = |byte: usize| {
            let next = self.starts.partition_point(|(start, _)| *start < byte);
            let found = self.starts.get(next).or(self.starts.last());
            found.map_or(0, |(_, shown)| *shown)
        };
        let start = at(bytes.start);
        start..at(bytes.end).max(start)
    }
}

/// Marks in as few groups as keep the lines of each few; the finding's own is first.
fn clusters(mut marks: Vec<(usize, Mark)>) -> Vec<Vec<(usize, Mark)>> {
    marks.sort_by_key(|(line, mark)| (*line, mark.bytes.start));
    let mut clusters: Vec<Vec<(usize, Mark)>> = Vec::new();
    for (line, mark) in marks {
        match clusters.last_mut() {
            Some(last) if last.last().is_some_and(|(before, _)| line - before <= NEAR) => {
                last.push((line, mark));
            }
            _ => clusters.push(vec![(line, mark)]),
        }
    }
    clusters.sort_by_key(|marks| !marks.iter().any(|(_, mark)| mark.primary));
    clusters
}

fn boundary(text: &str, at: usize) -> usize {
    (0..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// A text without line breaks and without what a terminal could take for a command.
fn neutral(text: &str) -> String {
    text.chars().map(harmless).collect()
}

/// Control characters, and those that turn the direction of writing, become a mark of their place.
fn harmless(c: char) -> char {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
    if c.is_control() || turns {
        '\u{fffd}'
    } else {
        c
    }
}
