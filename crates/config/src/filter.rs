//! Filters held against the branch or tag (language 10.8).

use capstan_model::Span;
use capstan_model::plan::Decision;

use crate::compiler::{Compiler, Scope};
use crate::regex::looks_around;
use crate::yaml::{Ref, Value};

type Rule = Option<Vec<(String, Span)>>;

impl Compiler<'_> {
    /// Whether a job with these filters, already substituted, takes part. `bare` is where a job
    /// without filters stands.
    pub(crate) fn filter(&mut self, filters: Option<&Ref>, bare: Span) -> Decision {
        let branch = self.trigger.revision.branch.clone();
        let tag = self.trigger.revision.tag.clone();
        let decision = |runs, reason: String, clause, value, span| Decision {
            runs,
            reason,
            clause,
            value,
            span,
        };
        let Some(filters) = filters.filter(|node| self.spend(u64::from(node.weight), node.span))
        else {
            let (runs, reason) = match (&branch, &tag) {
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
                shown,
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
        let (kind, name, rules) = match (&branch, &tag) {
            (Some(branch), Some(tag)) if !has_branches && tags.1.is_some() => {
                let _ = branch;
                ("tag", tag.clone(), (None, tags.1))
            }
            (None, Some(tag)) => ("tag", tag.clone(), tags),
            (Some(branch), _) => ("branch", branch.clone(), branches),
            (None, None) => {
                let reason = String::from("no branch and no tag: filters are not asked");
                return decision(true, reason, None, None, filters.span);
            }
        };
        let plural = if kind == "tag" { "tags" } else { "branches" };
        let (only, ignore) = rules;
        let mut last = None;
        if let Some(only) = only {
            let hit = only
                .iter()
                .find(|(pattern, _)| self.matches(pattern, &name));
            let words: Vec<&str> = only.iter().map(|(pattern, _)| pattern.as_str()).collect();
            let clause = format!("filters.{plural}.only: {}", words.join(", "));
            let span = hit.or(only.first()).map_or(filters.span, |(_, span)| *span);
            if hit.is_none() {
                let reason = format!("{kind} \"{name}\" is not in only: {}", words.join(", "));
                return decision(false, reason, Some(clause), Some(name), span);
            }
            let reason = format!("{kind} \"{name}\" is in only: {}", words.join(", "));
            last = Some((reason, clause, span));
        }
        if let Some(ignore) = ignore {
            let hit = ignore
                .iter()
                .find(|(pattern, _)| self.matches(pattern, &name));
            let words: Vec<&str> = ignore.iter().map(|(pattern, _)| pattern.as_str()).collect();
            let clause = format!("filters.{plural}.ignore: {}", words.join(", "));
            if let Some((_, span)) = hit {
                let reason = format!("{kind} \"{name}\" is in ignore: {}", words.join(", "));
                return decision(false, reason, Some(clause), Some(name), *span);
            }
            let span = ignore.first().map_or(filters.span, |(_, span)| *span);
            let reason = format!("{kind} \"{name}\" is not in ignore: {}", words.join(", "));
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

    fn rule(&mut self, filters: &Ref, kind: &str, word: &str) -> Rule {
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
            Value::Seq(items) => items.clone(),
            _ => vec![node.clone()],
        };
        let mut rules = Vec::new();
        for item in items {
            match item.source_text() {
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

/// The pattern of `/pattern/`.
fn inner(text: &str) -> Option<&str> {
    text.strip_prefix('/')
        .and_then(|text| text.strip_suffix('/'))
}
