//! Pipeline values and pipeline parameters (language 3.12, 5.1): what every tag can name.

use capstan_model::Span;
use capstan_model::plan::PipelineParameter;
use capstan_model::trigger::{ParameterValue, TriggerKind};

use crate::ast::parameter::Type;
use crate::ast::{Parameter, Parameters, suggest};
use crate::compiler::Compiler;
use crate::yaml::{Node, Ref, Text, Value};

impl Compiler<'_> {
    /// Gives each declared parameter the trigger's value or its default.
    pub(crate) fn pipeline_parameters(&mut self, declared: &Parameters, span: Span) {
        let start = Span {
            end: span.start,
            ..span
        };
        for (name, parameter) in declared {
            let given = self.trigger.parameters.get(name.as_str());
            let value = match given {
                None => parameter
                    .default
                    .clone()
                    .unwrap_or_else(|| Node::new(Value::Bad, start)),
                Some(given) => {
                    let value = Node::new(given_value(given, parameter), start);
                    self.argument(name, parameter, &value)
                }
            };
            if let Some(default) = parameter.default.as_ref().and_then(plain) {
                self.declared.push(PipelineParameter {
                    name: name.to_string(),
                    value: plain(&value).unwrap_or_else(|| default.clone()),
                    default,
                });
            }
            self.pipeline
                .insert(format!("pipeline.parameters.{name}"), value.value.clone());
        }
        let unknown: Vec<&String> = self
            .trigger
            .parameters
            .keys()
            .filter(|name| !declared.contains_key(name.as_str()))
            .collect();
        for name in unknown {
            let help = suggest(name, declared.keys().map(Text::as_str)).or_else(|| {
                Some(String::from(
                    "the config declares its own under `parameters`",
                ))
            });
            let message = format!("Unexpected argument(s): {name}");
            self.error_help("E_PARAM_UNEXPECTED", message, start, help);
        }
    }

    /// Gives the pipeline values what the trigger knows.
    pub(crate) fn pipeline_values(&mut self) {
        let trigger = self.trigger;
        let (project, revision) = (&trigger.project, &trigger.revision);
        let text = |text: &str| {
            if text.is_empty() {
                Value::Null
            } else {
                Value::Str(text.into())
            }
        };
        let maybe = |value: &Option<String>| {
            value
                .as_deref()
                .map_or(Value::Null, |text| Value::Str(text.into()))
        };
        let source = match trigger.kind {
            TriggerKind::CommandLine | TriggerKind::Api => "api",
            TriggerKind::Webhook => "webhook",
            TriggerKind::Schedule => "scheduled_pipeline",
        };
        let kind = if source == "scheduled_pipeline" {
            "schedule"
        } else {
            source
        };
        let is_default = match (&revision.branch, &project.default_branch) {
            (Some(branch), Some(default)) => branch == default,
            _ => false,
        };
        let number = i64::try_from(trigger.number).unwrap_or(i64::MAX);
        // Configs hand it to parameters that take the forges there are. A project of none is taken for one of
        // the forge that most are on, so that it compiles as it does there.
        let forge = match project.provider.as_str() {
            "local" => "github",
            provider => provider,
        };
        let known = [
            ("id", Value::Str(trigger.pipeline.to_string().into())),
            ("number", Value::Int(number)),
            ("name", Value::Null),
            ("definition.id", Value::Null),
            ("integration_source", text(forge)),
            ("project.git_url", text(&project.web_url)),
            ("project.type", text(forge)),
            ("project.slug", text(&project.slug)),
            ("git.branch", maybe(&revision.branch)),
            ("git.tag", maybe(&revision.tag)),
            ("git.branch.is_default", Value::Bool(is_default)),
            ("git.revision", maybe(&revision.sha)),
            ("git.base_revision", maybe(&revision.base_sha)),
            ("git.repo_url", text(&project.web_url)),
            ("git.repo_owner", text(&project.owner)),
            ("git.repo_name", text(&project.name)),
            ("git.repo_id", Value::Null),
            ("git.commit.url", Value::Null),
            ("git.commit.subject", maybe(&revision.subject)),
            ("git.commit.body", maybe(&revision.body)),
            ("git.commit.author_login", maybe(&revision.author)),
            ("config.repository.name", text(&project.name)),
            ("config.repository.url", text(&project.web_url)),
            ("config.ref", maybe(&revision.branch)),
            ("config.sha", maybe(&revision.sha)),
            ("trigger_source", Value::Str(source.into())),
            ("trigger.type", Value::Str(kind.into())),
            ("trigger.id", Value::Null),
            (
                "trigger.received_at",
                Value::Str(iso8601(trigger.received_at_ms).into()),
            ),
            ("schedule.name", Value::Null),
            ("schedule.id", Value::Null),
            ("event.name", Value::Str(kind.into())),
            ("event.action", Value::Str(kind.into())),
        ];
        for (name, value) in known {
            self.pipeline.insert(format!("pipeline.{name}"), value);
        }
        for (name, value) in &trigger.values {
            let value = match value {
                ParameterValue::String(text) | ParameterValue::Untyped(text) => {
                    Value::Str(text.as_str().into())
                }
                ParameterValue::Integer(n) => Value::Int(*n),
                ParameterValue::Boolean(b) => Value::Bool(*b),
            };
            self.pipeline.insert(format!("pipeline.{name}"), value);
        }
    }
}

/// The value of a pipeline parameter as data; `None` for what none can hold.
fn plain(node: &Ref) -> Option<ParameterValue> {
    match &node.value {
        Value::Str(text) => Some(ParameterValue::String(text.to_string())),
        Value::Int(n) => Some(ParameterValue::Integer(*n)),
        Value::Bool(b) => Some(ParameterValue::Boolean(*b)),
        _ => node.source_text().map(ParameterValue::String),
    }
}

/// A value of the trigger; text of a command line is read as the declared type says.
fn given_value(given: &ParameterValue, parameter: &Parameter) -> Value {
    match given {
        ParameterValue::String(text) => Value::Str(text.as_str().into()),
        ParameterValue::Integer(n) => Value::Int(*n),
        ParameterValue::Boolean(b) => Value::Bool(*b),
        ParameterValue::Untyped(text) => {
            let read = match parameter.kind {
                Some(Type::Integer) => text.parse().ok().map(Value::Int),
                Some(Type::Boolean) => match text.as_str() {
                    "true" => Some(Value::Bool(true)),
                    "false" => Some(Value::Bool(false)),
                    _ => None,
                },
                Some(Type::Enum) => {
                    let member = |m: &&Ref| m.source_text().as_deref() == Some(text.as_str());
                    parameter
                        .members
                        .iter()
                        .find(member)
                        .map(|m| m.value.clone())
                }
                _ => None,
            };
            read.unwrap_or_else(|| Value::Str(text.as_str().into()))
        }
    }
}

/// `2026-01-31T08:00:00Z` of milliseconds since 1970.
fn iso8601(ms: i64) -> String {
    let seconds = ms.div_euclid(1_000);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days counted from 0000-03-01, so that the leap day ends a year.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::iso8601;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(iso8601(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso8601(1_709_210_096_000), "2024-02-29T12:34:56Z");
        assert_eq!(iso8601(1_760_000_000_000), "2025-10-09T08:53:20Z");
    }
}
