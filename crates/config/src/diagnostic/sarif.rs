//! Findings as SARIF 2.1.0, the format that code hosts and editors read.

use std::collections::BTreeSet;

use capstan_model::{FileId, Span};
use serde_json::{Value, json};

use super::{Diagnostic, Report, Severity};
use crate::codes::{self, Rule};
use crate::sources::Sources;

/// Where the format is defined.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// One log with one run: what was found in each file, and which files could not be looked at, in words.
pub fn sarif(found: &[(Sources, Vec<Diagnostic>)], unread: &[String]) -> Value {
    let used: BTreeSet<&str> = found
        .iter()
        .flat_map(|(_, found)| found.iter().map(|one| one.code))
        .collect();
    let rules: Vec<&Rule> = codes::all()
        .filter(|rule| used.contains(rule.code))
        .collect();
    let mut results = Vec::new();
    for (sources, found) in found {
        let report = Report::new(sources);
        results.extend(found.iter().map(|one| result(&report, one, &rules)));
    }
    let notifications: Vec<Value> = unread
        .iter()
        .map(|why| json!({"level": "error", "message": {"text": why}}))
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "Capstan",
                "informationUri": REPOSITORY,
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|rule| described(rule)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "invocations": [{
                "executionSuccessful": unread.is_empty(),
                "toolExecutionNotifications": notifications,
            }],
            "results": results,
        }],
    })
}

fn described(rule: &Rule) -> Value {
    json!({
        "id": rule.code,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.text.trim()},
        "help": {"text": rule.page(), "markdown": rule.page()},
        "helpUri": format!("{REPOSITORY}/blob/main/docs/diagnostics/{}.md", rule.code),
        "defaultConfiguration": {"level": level(rule.severity())},
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Unsupported => "note",
    }
}

fn result(report: &Report<'_>, found: &Diagnostic, rules: &[&Rule]) -> Value {
    let mut text = found.message.clone();
    for help in &found.help {
        text.push_str("\n\nHelp: ");
        text.push_str(help);
    }
    let labels = found.labels.iter().map(|(span, said)| (*span, said));
    let calls = found.origin.iter().map(|(said, span)| (*span, said));
    let related: Vec<Value> = labels
        .chain(calls)
        .enumerate()
        .map(|(id, (span, said))| {
            let mut place = location(report, span);
            if let Some(fields) = place.as_object_mut() {
                fields.insert(String::from("id"), json!(id));
                fields.insert(String::from("message"), json!({"text": said}));
            }
            place
        })
        .collect();
    let mut result = json!({
        "ruleId": found.code,
        "level": level(found.severity),
        "message": {"text": text},
        "locations": [location(report, found.span)],
        "relatedLocations": related,
    });
    let Some(fields) = result.as_object_mut() else {
        return result;
    };
    if let Some(index) = rules.iter().position(|rule| rule.code == found.code) {
        fields.insert(String::from("ruleIndex"), json!(index));
    }
    if let Some((mend, help)) = report.mend(found) {
        let words = help.and_then(|at| found.help.get(at));
        let words = words.map_or("write it so", String::as_str);
        let fix = json!({
            "description": {"text": words},
            "artifactChanges": [{
                "artifactLocation": artifact(report, mend.span.file),
                "replacements": [{
                    "deletedRegion": region(report, mend.span),
                    "insertedContent": {"text": mend.replacement},
                }],
            }],
        });
        fields.insert(String::from("fixes"), json!([fix]));
    }
    result
}

fn location(report: &Report<'_>, span: Span) -> Value {
    json!({"physicalLocation": {
        "artifactLocation": artifact(report, span.file),
        "region": region(report, span),
    }})
}

fn region(report: &Report<'_>, span: Span) -> Value {
    let at = report.place(span);
    json!({"startLine": at.line, "startColumn": at.column, "endLine": at.end_line,
        "endColumn": at.end_column})
}

/// Files are relative to the root of the sources; an orb is no file, and gets a name of its own.
fn artifact(report: &Report<'_>, file: FileId) -> Value {
    let name = report.name(file);
    if file != FileId(0) {
        return if name.starts_with("https://") {
            json!({"uri": name})
        } else {
            json!({"uri": format!("orb:{}", escaped(name))})
        };
    }
    if name.starts_with('/') {
        return json!({"uri": format!("file://{}", escaped(name))});
    }
    let name = name.strip_prefix("./").unwrap_or(name);
    json!({"uri": escaped(name), "uriBaseId": "%SRCROOT%"})
}

/// A path as a part of a URI.
fn escaped(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~/@+".contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
