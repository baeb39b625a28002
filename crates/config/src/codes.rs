//! Every class of finding: what it means, an example that gets it, and the same example mended. The pages
//! under `docs/diagnostics`, `capstan config explain CODE` and the rules in SARIF are made of this table;
//! tests hold it against the code that raises the classes, and compile every example.

use crate::Severity;

mod graph;
mod limits;
mod names;
mod parameters;
mod shape;
mod templates;
mod unsupported;
mod warnings;

/// A class of finding.
#[derive(Debug)]
pub struct Rule {
    /// `E_…`, `W_…` or `U_…`.
    pub code: &'static str,
    /// What it is about, in a line without a full stop.
    pub title: &'static str,
    /// The section of the language that it comes from.
    pub section: &'static str,
    /// What happened, why it matters, what to do; Markdown.
    pub text: &'static str,
    /// How it is mended, for findings that do not say it better themselves; a line without a full stop.
    pub mend: Option<&'static str>,
    /// A config that gets this finding and no other.
    pub wrong: &'static str,
    /// The same config, mended.
    pub right: &'static str,
}

const TABLES: &[&[Rule]] = &[
    shape::RULES,
    parameters::RULES,
    templates::RULES,
    names::RULES,
    graph::RULES,
    limits::RULES,
    warnings::RULES,
    unsupported::RULES,
];

/// All classes, those of one part of the language together.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    TABLES.iter().copied().flatten()
}

/// The class of this code.
pub fn find(code: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.code == code)
}

/// The codes most like a misspelt one, the nearest first.
pub fn nearest(code: &str) -> Option<&'static str> {
    crate::diagnostic::nearest(code, all().map(|rule| rule.code))
}

/// Whether a text is meant as a code: `E_PARAM_TYPE`.
pub fn looks_like(text: &str) -> bool {
    let rest = ["E_", "W_", "U_"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix));
    rest.is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    })
}

impl Rule {
    /// How bad it is, which the first letter of the code says.
    pub fn severity(&self) -> Severity {
        match self.code.as_bytes().first() {
            Some(b'W') => Severity::Warning,
            Some(b'U') => Severity::Unsupported,
            _ => Severity::Error,
        }
    }

    /// What a reader can do about it in general.
    fn consequence(&self) -> &'static str {
        match self.severity() {
            Severity::Error => "An error: nothing runs until it is mended.",
            Severity::Warning => "A warning: the config compiles, and may not do what it seems to.",
            Severity::Unsupported => {
                "The config is right, and this version of Capstan cannot execute this part yet: \
                 `capstan config validate` passes, `capstan plan` and `capstan run` refuse."
            }
        }
    }

    /// Its page, in Markdown that reads well on a terminal too.
    pub fn page(&self) -> String {
        let mended = match self.severity() {
            Severity::Unsupported => "What works meanwhile",
            _ => "Mended",
        };
        let short = self
            .mend
            .map_or_else(String::new, |mend| format!("\n\nIn short: {mend}."));
        format!(
            "# {}: {}\n\n{}\n\n{}{short}\n\n## Example\n\n```yaml\n{}```\n\n## {mended}\n\n```yaml\n{}```\n\nLanguage, section {}.\n",
            self.code,
            self.title,
            self.consequence(),
            self.text.trim(),
            self.wrong.trim_start(),
            self.right.trim_start(),
            self.section
        )
    }
}

/// The table of all classes, with links to their pages.
pub fn index() -> String {
    let mut page = String::from(
        "# Diagnostics\n\nEvery class of finding, with a page that explains it. `capstan config explain CODE` prints the\n\
         page. Made from `crates/config/src/codes` by `UPDATE=1 cargo test -p capstan-config --test codes`.\n",
    );
    for (severity, head) in [
        (Severity::Error, "Errors"),
        (Severity::Warning, "Warnings"),
        (Severity::Unsupported, "Not built yet"),
    ] {
        page.push_str(&format!("\n## {head}\n\n| code | |\n|---|---|\n"));
        for rule in all().filter(|rule| rule.severity() == severity) {
            page.push_str(&format!(
                "| [`{0}`]({0}.md) | {1} |\n",
                rule.code, rule.title
            ));
        }
    }
    page
}
