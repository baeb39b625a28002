//! `triggers` of a workflow: the old way to run on a schedule (language 10.6).

use crate::compiler::Compiler;
use crate::yaml::Ref;

/// The five fields of a cron line: their names for messages, and the numbers they hold.
const FIELDS: [(&str, u32, u32); 5] = [
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 7),
];
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Compiler<'_> {
    /// Looks at the triggers of a workflow.
    pub(crate) fn triggers(&mut self, node: &Ref) {
        let Some(items) = node.seq() else {
            if !node.is_bad() {
                self.schema("`triggers` is a list of `schedule`s", node.span);
            }
            return;
        };
        for item in items {
            let Some(entries) = item.map() else {
                self.schema("a trigger is `schedule: {cron, filters}`", item.span);
                continue;
            };
            self.closed(entries, &["schedule"]);
            match item.get("schedule") {
                Some(schedule) => self.schedule(schedule),
                None => self.schema("trigger: required key [schedule] not found", item.span),
            }
        }
    }

    fn schedule(&mut self, node: &Ref) {
        let Some(entries) = node.map() else {
            self.schema("`schedule` is a map of `cron` and `filters`", node.span);
            return;
        };
        self.closed(entries, &["cron", "filters"]);
        match node.get("cron") {
            None => self.schema("schedule: required key [cron] not found", node.span),
            Some(cron) => {
                let text = cron.source_text().unwrap_or_default();
                if let Err(why) = cron_line(&text) {
                    let help = Some(String::from(
                        "write five fields in UTC, such as \"0 4 * * 1-5\"",
                    ));
                    self.error_help("E_SCHEMA", format!("invalid cron: {why}"), cron.span, help);
                }
            }
        }
        let Some(filters) = node.get("filters") else {
            let help = Some(String::from("add `filters: {branches: {only: main}}`"));
            let message = "schedule: required key [filters] not found";
            self.error_help("E_SCHEMA", message, node.span, help);
            return;
        };
        let entries = filters.map().unwrap_or_default();
        self.closed(entries, &["branches", "tags"]);
        if let Some(tags) = filters.entry("tags") {
            let message = "a schedule runs on branches, so `tags` means nothing here";
            self.warn("W_IGNORED_KEY", message, tags.key_span);
        }
        let branches = filters.get("branches");
        if let Some(branches) = branches {
            self.closed(branches.map().unwrap_or_default(), &["only", "ignore"]);
        }
        let word = |key: &str| branches.is_some_and(|b| b.get(key).is_some());
        if !word("only") && !word("ignore") && !filters.is_bad() {
            let message = "the filters of a schedule name branches by `only` or `ignore`";
            self.schema(message, filters.span);
        }
    }
}

/// What is wrong with a cron line.
fn cron_line(text: &str) -> Result<(), String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("it has {} fields instead of 5", fields.len()));
    }
    for (field, (name, low, high)) in fields.iter().zip(FIELDS) {
        let words: &[&str] = match name {
            "month" => &MONTHS,
            "day of week" => &DAYS,
            _ => &[],
        };
        cron_field(field, words, low..=high).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

fn cron_field(
    field: &str,
    words: &[&str],
    numbers: std::ops::RangeInclusive<u32>,
) -> Result<(), String> {
    if field.contains('/') {
        return Err(format!("[{field}] has a step, and steps are not supported"));
    }
    if field == "*" {
        return Ok(());
    }
    let number = |text: &str| -> Result<(), String> {
        match text.parse::<u32>() {
            Ok(n) if numbers.contains(&n) => Ok(()),
            _ => {
                let (low, high) = (numbers.start(), numbers.end());
                Err(format!("[{text}] is not a number from {low} to {high}"))
            }
        }
    };
    let items: Vec<&str> = field.split(',').collect();
    for item in &items {
        if words.contains(&item.to_ascii_lowercase().as_str()) {
            continue;
        }
        match item.split_once('-') {
            None => number(item)?,
            Some(_) if items.len() > 1 => {
                return Err(format!(
                    "[{field}] has a range in a list, which is not supported"
                ));
            }
            Some((from, to)) => {
                let named = |text: &str| words.contains(&text.to_ascii_lowercase().as_str());
                if named(from) || named(to) {
                    return Err(format!(
                        "[{item}] is a range of names, which is not supported"
                    ));
                }
                number(from)?;
                number(to)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::cron_line;

    #[test]
    fn cron_lines_are_read_as_documented() {
        for fine in [
            "0 0 * * *",
            "5,35 4 1 jan mon",
            "0 9 * * 1-5",
            "0 0 * * Mon,Wed",
        ] {
            assert_eq!(cron_line(fine), Ok(()), "{fine}");
        }
        let wrong = [
            "",
            "* * * *",
            "*/5 * * * *",
            "0 0 * * 1,3-5",
            "0 0 * * Tue-Sat",
            "61 * * * *",
        ];
        for line in wrong {
            assert!(cron_line(line).is_err(), "{line}");
        }
    }
}
