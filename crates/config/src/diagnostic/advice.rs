//! Mends that need no more than a finding and the text around it, added when everything has been found:
//! the classic slips, told by what is written at the place; and for a finding that has no mend of its own,
//! the usual one of its class.

use capstan_model::Span;

use super::{Diagnostic, Mend, Report, did_you_mean, nearest};
use crate::codes;
use crate::sources::Sources;
use crate::workflow::invocation::INVOCATION_KEYS;

/// Completes findings whose spans point into `sources`.
pub(crate) fn advise(sources: &Sources, found: &mut [Diagnostic]) {
    let report = Report::new(sources);
    for one in found {
        match one.code {
            "E_YAML" => yaml(&report, one),
            "E_TEMPLATE" => heredoc(&report, one),
            "E_UNKNOWN_COMMAND" => shell_command(&report, one),
            "E_PARAM_UNEXPECTED" => entry_key(&report, one),
            "E_PARAM_UNDECLARED" => undeclared(&report, one),
            _ => {}
        }
        listed(&report, one);
        if one.help.is_empty() && one.mend.is_none() {
            let usual = codes::find(one.code).and_then(|rule| rule.mend);
            one.help.extend(usual.map(str::to_owned));
        }
    }
}

/// `key: a text: with a colon`, a name whose colon is missing above its keys, an item deeper than its list,
/// tabs, and an alias of nothing: what the reader of YAML says about them helps nobody who does not know.
fn yaml(report: &Report<'_>, found: &mut Diagnostic) {
    let (line, range) = report.line_around(found.span.file, found.span.start);
    let text = report.text(found.span.file);
    let here = text.get(range.clone()).unwrap_or("");
    let before = text
        .get(range.start..found.span.start as usize)
        .unwrap_or("");
    if found.message.contains("tabs disallowed") {
        found.help = vec![String::from("indent with blanks, never with tabs")];
        return;
    }
    if found.message.contains("unknown anchor") {
        let name: String = text
            .get(found.span.start as usize..range.end)
            .unwrap_or("")
            .chars()
            .take_while(|c| !c.is_whitespace() && !",]}".contains(*c))
            .collect();
        let anchor = name.trim_start_matches('*');
        found.help = vec![format!(
            "define `&{anchor}` further up, where `{name}` is to be copied from"
        )];
        return;
    }
    if !found.message.contains("mapping values are not allowed") {
        return;
    }
    if before.contains(": ") {
        // The second colon of a line: the value wants quotes.
        let start = before.find(": ").map_or(0, |at| at + 2);
        let value = here.get(start..).unwrap_or("").trim();
        let quoted = ["\"", "'"].iter().any(|quote| value.contains(quote));
        if !quoted && !value.contains('\\') && !value.contains(" #") {
            let from =
                range.start + start + here.get(start..).unwrap_or("").find(value).unwrap_or(0);
            found.help.clear();
            found
                .help
                .push(format!("enclose it in quotes: \"{value}\""));
            found.mend = bytes(found.span, from, from + value.len())
                .map(|span| Mend::new(span, format!("\"{value}\"")));
        }
        return;
    }
    let Some(above) = (0..line)
        .rev()
        .map(|line| report.line(found.span.file, line))
        .find(|range| {
            text.get(range.clone())
                .is_some_and(|line| !line.trim().is_empty())
        })
    else {
        return;
    };
    let above_text = text.get(above.clone()).unwrap_or("");
    let name = above_text.trim_start().trim_start_matches("- ").trim();
    let end = above.start + above_text.trim_end().len();
    let start = end - name.len();
    let Some(place) = bytes(found.span, start, end) else {
        return;
    };
    found.help.clear();
    if here.trim_start().starts_with("- ") {
        found
            .labels
            .push((place, String::from("this item goes on below")));
        found
            .help
            .push(String::from("indent it like the item above"));
    } else if !name.contains(':') {
        found
            .labels
            .push((place, String::from("this has keys below it")));
        found.help.push(format!("put a colon behind `{name}`"));
        found.mend = bytes(found.span, start, end).map(|span| Mend::new(span, format!("{name}:")));
    } else {
        found
            .labels
            .push((place, String::from("this has a value already")));
        found.help.push(String::from(
            "indent it like the line above, or put the value above below its key",
        ));
    }
}

/// `<<` of a shell starts a tag.
fn heredoc(report: &Report<'_>, found: &mut Diagnostic) {
    if !found.message.starts_with("Unclosed '<<'") || found.mend.is_some() {
        return;
    }
    let text = report.slice(found.span).unwrap_or("");
    let open = text.match_indices("<<").map(|(at, _)| at).find(|at| {
        let escaped = text
            .get(..*at)
            .is_some_and(|before| before.ends_with(['\\', '<']));
        let rest = text.get(at + 2..).unwrap_or("");
        let end = rest.find("<<").unwrap_or(rest.len());
        !escaped && !rest.get(..end).is_some_and(|part| part.contains(">>"))
    });
    if let Some(at) = open {
        let start = found.span.start as usize + at;
        found.mend =
            bytes(found.span, start, start + 2).map(|span| Mend::new(span, String::from("\\<<")));
        found.help.insert(
            0,
            String::from("write `\\<<` where `<<` is meant as text; the backslash is taken away"),
        );
    }
}

/// A shell command as a step.
fn shell_command(report: &Report<'_>, found: &mut Diagnostic) {
    let written = report.slice(found.span).unwrap_or("");
    if !written.contains(' ') || written.contains("<<") || written.starts_with(['"', '\'']) {
        return;
    }
    let command = written.strip_prefix("run ").unwrap_or(written).trim();
    let wants_quotes = command.contains(": ") || command.contains(" #");
    found.help = vec![String::from("a shell command stands behind `run:`")];
    if !wants_quotes && !command.starts_with(['"', '\'']) {
        found.mend = Some(Mend::new(found.span, format!("run: {command}")));
    }
}

/// A misspelt key of a workflow's entry looks like an argument of the job.
fn entry_key(report: &Report<'_>, found: &mut Diagnostic) {
    let of_job = found
        .origin
        .last()
        .is_some_and(|(call, _)| call.starts_with("calling job"));
    let written = report.slice(found.span).unwrap_or("");
    if !of_job
        || found
            .help
            .iter()
            .any(|help| help.starts_with("did you mean"))
    {
        return;
    }
    if let Some(key) = nearest(written, INVOCATION_KEYS.iter().copied()) {
        found.help.insert(0, did_you_mean(key));
    }
}

/// A name in a tag that is close to another one, or that is a variable of the environment.
fn undeclared(report: &Report<'_>, found: &mut Diagnostic) {
    let written = report.slice(found.span).unwrap_or("");
    let near = found
        .message
        .strip_suffix("?)")
        .and_then(|message| message.rsplit_once(" (did you mean "))
        .map(|(message, near)| (message.to_owned(), near.to_owned()));
    if let Some((message, near)) = near {
        let wrong = message.rsplit(' ').next().unwrap_or("");
        if let (Some(at), false) = (written.find(wrong), wrong.is_empty()) {
            let start = found.span.start as usize + at;
            found.mend = bytes(found.span, start, start + wrong.len())
                .map(|span| Mend::new(span, near.clone()));
        }
        found.help.insert(0, did_you_mean(&near));
        found.message = message;
        return;
    }
    let tags = written.split("<<").skip(1);
    let names = tags.filter_map(|rest| rest.split(">>").next());
    for name in names.map(str::trim) {
        let shell = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let name = name
            .strip_prefix("env.")
            .or(name.chars().all(shell).then_some(name));
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            let help = "variables are there when the job runs, not before: write";
            found.help.insert(0, format!("{help} `${name}`"));
            return;
        }
    }
}

/// One word where a list of words is wanted.
fn listed(report: &Report<'_>, found: &mut Diagnostic) {
    let asked = found.help.len() == 1
        && found
            .help
            .iter()
            .all(|help| help.starts_with("write a list"));
    if let (true, None, Some(word)) = (asked, &found.mend, report.slice(found.span)) {
        let inner = word.trim_matches(['"', '\'']);
        let plain = |c: char| c.is_alphanumeric() || "_-./".contains(c);
        if !inner.is_empty() && inner.chars().all(plain) {
            found.mend = Some(Mend::new(found.span, format!("[{word}]")));
        }
    }
}

fn bytes(near: Span, start: usize, end: usize) -> Option<Span> {
    Some(Span {
        file: near.file,
        start: u32::try_from(start).ok()?,
        end: u32::try_from(end).ok()?,
    })
}
