//! Mends that are exact: this text instead of that. The words of the commonest three stand here beside
//! what they mean, so that a rule which only speaks them gives a patch too.

use capstan_model::Span;

use super::{Diagnostic, Report};

/// A replacement that mends a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mend {
    /// What to replace, maybe nothing.
    pub span: Span,
    /// With what.
    pub replacement: String,
}

impl Mend {
    /// This text instead of what stands there.
    pub fn new(span: Span, replacement: String) -> Self {
        Self { span, replacement }
    }
}

/// The help for a value that lost its type to its quotes.
pub const WITHOUT_QUOTES: &str = "write it without quotes";

const DID_YOU_MEAN: &str = "did you mean `";
const IN_QUOTES: &str = "enclose it in quotes: ";

/// The help for a name that is close to another one.
pub fn did_you_mean(name: &str) -> String {
    format!("{DID_YOU_MEAN}{name}`?")
}

/// The help for a scalar that is to be text.
pub fn in_quotes(scalar: &str) -> String {
    format!("{IN_QUOTES}\"{scalar}\"")
}

impl Report<'_> {
    /// The exact mend of a finding, with the index of the help that says the same in words. A replacement
    /// is offered only for text that is what it seems: one bare or quoted word.
    pub fn mend(&self, found: &Diagnostic) -> Option<(Mend, Option<usize>)> {
        if let Some(mend) = &found.mend {
            // The first help says the same in words.
            let help = (!found.help.is_empty()).then_some(0);
            return Some((mend.clone(), help));
        }
        let written = self.slice(found.span)?;
        found.help.iter().enumerate().find_map(|(at, help)| {
            let replacement = replacement(written, help)?;
            Some((Mend::new(found.span, replacement), Some(at)))
        })
    }
}

fn replacement(written: &str, help: &str) -> Option<String> {
    if let Some(name) = help
        .strip_prefix(DID_YOU_MEAN)
        .and_then(|rest| rest.strip_suffix("`?"))
    {
        // A name of an orb may be misspelt behind its slash only.
        let name = match written.trim_matches(['"', '\'']).rsplit_once('/') {
            Some((orb, _)) if !name.contains('/') => &format!("{orb}/{name}"),
            _ => name,
        };
        return match quoted(written) {
            Some((quote, inner)) if bare(inner) && bare(name) => {
                Some(format!("{quote}{name}{quote}"))
            }
            None if bare(written) && bare(name) => Some(name.to_owned()),
            _ => None,
        };
    }
    if let Some(text) = help.strip_prefix(IN_QUOTES) {
        return bare(written).then(|| text.to_owned());
    }
    if help == WITHOUT_QUOTES {
        let (_, inner) = quoted(written)?;
        return bare(inner).then(|| inner.to_owned());
    }
    None
}

fn quoted(text: &str) -> Option<(char, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    Some((quote, inner))
}

/// One word that means itself in YAML, plain or in quotes.
fn bare(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "_-./+".contains(c);
    !text.is_empty() && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::{WITHOUT_QUOTES, did_you_mean, in_quotes, replacement};

    #[test]
    fn words_become_patches_only_where_the_text_is_one_word() {
        let near = did_you_mean("checkout");
        let table = [
            ("chekout", near.as_str(), Some("checkout")),
            ("'chekout'", &near, Some("'checkout'")),
            ("orb/chekout", &near, Some("orb/checkout")),
            ("{chekout: {}}", &near, None),
            ("<< parameters.x >>", &near, None),
            ("3.8", &in_quotes("3.8"), Some("\"3.8\"")),
            ("*version", &in_quotes("3.8"), None),
            ("\"3\"", WITHOUT_QUOTES, Some("3")),
            ("'a b'", WITHOUT_QUOTES, None),
            ("three", WITHOUT_QUOTES, None),
            ("\"", WITHOUT_QUOTES, None),
            ("x", "call somebody", None),
        ];
        for (written, help, wanted) in table {
            assert_eq!(
                replacement(written, help).as_deref(),
                wanted,
                "{written} {help}"
            );
        }
    }
}
