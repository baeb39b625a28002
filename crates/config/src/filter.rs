//! Filters held against the branch or tag (language 10.8).

use std::borrow::Cow;

use capstan_model::Span;
use capstan_model::plan::Decision;

use crate::compiler::{Compiler, Scope};
use crate::regex::looks_around;
use crate::yaml::{Ref, Value};

/// The patterns of `only` or `ignore`.
type Rule<'n> = Option<Vec<(Cow<'n, str>, Span)>>;

impl Compiler<'_> {
    /// Whether a job with these filters, already substituted, takes part. `bare` is where a job
    /// without filters stands.
    pub(crate) fn filter(&mut self, filters: Option<&Ref>, bare: Span) -> Decision {
        let revision = &self.trigger.revision;
        let (branch, tag) = (revision.branch.as_deref(), revision.tag.as_deref());
        let decision = |runs, reason: String, clause, value: Option<&str>, span| Decision {
            runs,
            reason,
            clause,
            value: value.map(str::to_owned),
            span,
        };
        let Some(filters) = filters.filter(|node| self.spend(u64::from(node.weight), node.span))
        else {
            let (runs, reason) = match (branch, tag) {
                (None, Some(_)) => (false, "no filters: runs on no tag"),
                _ => (true, "no filters: runs on every branch"),
            };
            return decision(runs, reason.to_owned(), None, branch.or(tag), bare);
        };
        if let Value::Str(text) = &filters.value {
            let value = self.expression(text, filters.span, &Scope::default());
            let runs = crate::expr::truthy(&value);
            let reason = format!("the expression is {}", if runs { "true" } else { "false" });
            let shown = value.text().filter(|text| !text.is_empty());
            return decision(
                runs,
                reason,
                Some(format!("filters: {text}")),
                shown.as_deref(),
                filters.span,
            );
        }
        let Some(entries) = filters.map() else {
            if !filters.is_bad() {
                let message = "`filters` is a map of `branches` and `tags`, or an expression";
                self.schema(message, filters.span);
            }
            return decision(
                false,
                String::from("its filters are wrong"),
                None,
                None,
                filters.span,
            );
        };
        self.closed(entries, &["branches", "tags"]);
        // All four are read, so that a mistake shows on every branch.
        let branches = (
            self.rule(filters, "branches", "only"),
            self.rule(filters, "branches", "ignore"),
        );
        let tags = (
            self.rule(filters, "tags", "only"),
            self.rule(filters, "tags", "ignore"),
        );
        let has_branches = branches.0.is_some() || branches.1.is_some();
        let (kind, name, rules) = match (branch, tag) {
            (Some(_), Some(tag)) if !has_branches && tags.1.is_some() => {
                ("tag", tag, (None, tags.1))
            }
            (None, Some(tag)) => ("tag", tag, tags),
            (Some(branch), _) => ("branch", branch, branches),
            (None, None) => {
                let reason = String::from("no branch and no tag: filters are not asked");
                return decision(true, reason, None, None, filters.span);
            }
        };
        let plural = if kind == "tag" { "tags" } else { "branches" };
        let (only, ignore) = rules;
        let mut last = None;
        if let Some(only) = only {
            let hit = only.iter().find(|(pattern, _)| self.matches(pattern, name));
            let words = joined(&only);
            let clause = format!("filters.{plural}.only: {words}");
            let span = hit.or(only.first()).map_or(filters.span, |(_, span)| *span);
            if hit.is_none() {
                let reason = format!("{kind} \"{name}\" is not in only: {words}");
                return decision(false, reason, Some(clause), Some(name), span);
            }
            let reason = format!("{kind} \"{name}\" is in only: {words}");
            last = Some((reason, clause, span));
        }
        if let Some(ignore) = ignore {
            let hit = ignore
                .iter()
                .find(|(pattern, _)| self.matches(pattern, name));
            let words = joined(&ignore);
            let clause = format!("filters.{plural}.ignore: {words}");
            if let Some((_, span)) = hit {
                let reason = format!("{kind} \"{name}\" is in ignore: {words}");
                return decision(false, reason, Some(clause), Some(name), *span);
            }
            let span = ignore.first().map_or(filters.span, |(_, span)| *span);
            let reason = format!("{kind} \"{name}\" is not in ignore: {words}");
            last = last.or(Some((reason, clause, span)));
        }
        match last {
            Some((reason, clause, span)) => decision(true, reason, Some(clause), Some(name), span),
            None if kind == "tag" => {
                let reason = String::from("no tag filters: runs on no tag");
                decision(false, reason, None, Some(name), filters.span)
            }
            None => {
                let reason = String::from("no branch filters: runs on every branch");
                decision(true, reason, None, Some(name), filters.span)
            }
        }
    }

    fn rule<'n>(&mut self, filters: &'n Ref, kind: &str, word: &str) -> Rule<'n> {
        let of = filters.get(kind)?;
        match of.map() {
            Some(entries) => {
                self.closed(entries, &["only", "ignore"]);
            }
            None => {
                if !of.is_bad() {
                    self.schema(format!("`{kind}` is a map of `only` and `ignore`"), of.span);
                }
                return None;
            }
        }
        let node = of.get(word)?;
        let items = match &node.value {
            Value::Seq(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        let mut rules = Vec::with_capacity(items.len());
        for item in items {
            let text = match &item.value {
                Value::Str(text) => Some(Cow::Borrowed(text.as_str())),
                _ => item.source_text().map(Cow::Owned),
            };
            match text {
                Some(text) => {
                    self.pattern(&text, item.span);
                    rules.push((text, item.span));
                }
                None if item.is_bad() => {}
                None => self.schema(format!("`{word}` is a name or a list of names"), item.span),
            }
        }
        Some(rules)
    }

    fn pattern(&mut self, text: &str, span: Span) {
        let Some(inner) = inner(text) else { return };
        match self.patterns.whole(inner, "") {
            Err(why) => self.error("E_REGEX", why, span),
            Ok(_) if looks_around(inner) => {
                let message = "CircleCI refuses look-around in patterns; use an expression filter, or `only` with `ignore`";
                self.warn("W_REGEX_LOOKAROUND", message, span);
            }
            Ok(_) => {}
        }
    }

    fn matches(&mut self, pattern: &str, name: &str) -> bool {
        match inner(pattern) {
            Some(inner) => self.patterns.whole(inner, name).unwrap_or(false),
            None => pattern == name,
        }
    }
}

/// The patterns with commas between them.
fn joined(rules: &[(Cow<'_, str>, Span)]) -> String {
    let mut out = String::new();
    for (at, (pattern, _)) in rules.iter().enumerate() {
        out.push_str(if at > 0 { ", " } else { "" });
        out.push_str(pattern);
    }
    out
}

/// The pattern of `/pattern/`.
fn inner(text: &str) -> Option<&str> {
    text.strip_prefix('/')
        .and_then(|text| text.strip_suffix('/'))
}
