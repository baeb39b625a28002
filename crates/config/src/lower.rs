//! A parsed config into a plan, phase by phase (language 16.1).

use capstan_model::source::Origins;
use capstan_model::trigger::TriggerKind;
use capstan_model::{FileId, Plan, Span, Trigger};

use crate::ast::{Kind, Parameters, suggest};
use crate::compiler::{Compiler, Wanted};
use crate::diagnostic::{Diagnostic, Severity};
use crate::graph::Linked;
use crate::processed;
use crate::sources::Sources;
use crate::space::SpaceId;
use crate::workflow::Draft;
use crate::yaml::{self, Ref, Text, Value};

const TOP: &[&str] = &[
    "version",
    "setup",
    "orbs",
    "parameters",
    "executors",
    "commands",
    "jobs",
    "job-groups",
    "workflows",
    "experimental",
    "description",
    "display",
    "examples",
];

/// Sections that version 2 does not know (language 18.1).
const ONLY_2_1: &[&str] = &[
    "setup",
    "orbs",
    "parameters",
    "executors",
    "commands",
    "job-groups",
];

/// What came of a compilation.
pub(crate) enum Lowered {
    /// The plan, if there is no error, and everything found.
    Done(Option<Plan>, Vec<Diagnostic>),
    /// Orbs that have to be brought first.
    Missing(Vec<String>),
}

/// Compiles the first of the sources.
pub(crate) fn lower(sources: &Sources, trigger: &Trigger, wanted: Wanted) -> Lowered {
    let mut compiler = Compiler::new(sources, trigger, wanted);
    let text = sources.get(FileId(0)).map_or("", |file| file.text.as_str());
    let root = match compiler.read(text) {
        Ok(root) => root,
        Err(found) => return Lowered::Done(None, found),
    };
    let plan = compiler.config(&root, text);
    compiler.end(plan)
}

/// Checks the first of the sources as an orb.
pub(crate) fn lower_orb(sources: &Sources, trigger: &Trigger) -> Lowered {
    let mut compiler = Compiler::new(sources, trigger, Wanted::Plan);
    let text = sources.get(FileId(0)).map_or("", |file| file.text.as_str());
    let root = match compiler.read(text) {
        Ok(root) => root,
        Err(found) => return Lowered::Done(None, found),
    };
    compiler.pipeline_values();
    if let Some(space) = compiler.validate_orb(&root)
        && compiler.missing.is_empty()
    {
        compiler.try_all(space);
    }
    compiler.end(Some(Plan::default()))
}

impl Compiler<'_> {
    fn read(&mut self, text: &str) -> Result<Ref, Vec<Diagnostic>> {
        let mut found = Vec::new();
        match yaml::parse(FileId(0), text, &mut found) {
            Ok(root) => {
                for diagnostic in found {
                    self.report(diagnostic);
                }
                Ok(root)
            }
            Err(diagnostic) => {
                found.push(*diagnostic);
                Err(found)
            }
        }
    }

    fn end(self, plan: Option<Plan>) -> Lowered {
        if !self.missing.is_empty() {
            return Lowered::Missing(self.missing);
        }
        let errors = self.errors() > 0;
        let Self {
            found,
            origins,
            pins,
            ..
        } = self;
        let plan = plan.filter(|_| !errors).map(|plan| Plan {
            origins,
            orbs: pins,
            ..plan
        });
        Lowered::Done(plan, found)
    }

    fn config(&mut self, root: &Ref, text: &str) -> Option<Plan> {
        self.version(root)?;
        for entry in root.map().unwrap_or_default() {
            let key = entry.key.as_str();
            if self.v2 && ONLY_2_1.contains(&key) {
                self.ignored_in_2(entry);
            } else if !TOP.contains(&key) {
                let message = format!("[{key}] is no key of a config, and ignored");
                let help = suggest(key, TOP.iter().copied());
                self.warn_help("W_UNKNOWN_KEY", message, entry.key_span, help);
            } else if entry.value.is_null() && key != "version" {
                let message = format!("[{key}] is empty, which is as if it were not there");
                self.warn("W_EMPTY", message, entry.key_span);
            }
        }
        let mut setup = false;
        if self.v2 {
            self.given_to_2();
        } else {
            setup = self.setup(root);
            let parameters = match root.get("parameters") {
                Some(parameters) => self.parameters(parameters, None),
                None => Parameters::new(),
            };
            self.pipeline_parameters(&parameters, root.span);
            self.pipeline_values();
            if let Some(orbs) = root.get("orbs") {
                self.declare_orbs(SpaceId::CONFIG, orbs, &[]);
            }
            self.groups(root);
        }
        self.tables(SpaceId::CONFIG, root);
        if !self.missing.is_empty() {
            // The rest would only say what the missing orbs do not define.
            return None;
        }
        self.define_all(SpaceId::CONFIG);
        self.recursion(SpaceId::CONFIG);
        let workflows = self.workflows(root)?;
        if setup {
            self.one_setup_workflow(root, &workflows);
        }
        if self.errors() == 0 {
            // A misspelt name would also make what it means unused.
            crate::checks::all(self, root);
        }
        let start = Span {
            end: root.span.start,
            ..root.span
        };
        if self.wanted == Wanted::Findings {
            return Some(Plan::default());
        }
        let processed = crate::graph::processed(&workflows);
        let Some(processed) = processed::config(&processed, &self.pins, text) else {
            let message = "the expanded config is longer than 32 MiB";
            self.error("E_LIMIT", message, start);
            return None;
        };
        Some(Plan {
            workflows: self.plan_workflows(workflows),
            processed,
            origins: Origins::default(),
            setup,
            parameters: std::mem::take(&mut self.declared),
            orbs: Vec::new(),
        })
    }

    /// Reads `version`; `None` if nothing can be read by it.
    fn version(&mut self, root: &Ref) -> Option<()> {
        let Some(version) = root.get("version") else {
            let help = Some(String::from("start the file with `version: 2.1`"));
            let span = Span {
                end: root.span.start,
                ..root.span
            };
            self.error_help("E_SCHEMA", "required key [version] not found", span, help);
            return None;
        };
        match version.source_text().as_deref() {
            Some("2.1") => Some(()),
            Some("2" | "2.0") => {
                self.v2 = true;
                Some(())
            }
            _ => {
                let help = Some(String::from("write `version: 2.1`"));
                self.error_help("E_VERSION", "unsupported version", version.span, help);
                None
            }
        }
    }

    /// Version 2 has no parameters, so a trigger cannot give any (language 18.1).
    fn given_to_2(&mut self) {
        let given: Vec<&str> = self.trigger.parameters.keys().map(String::as_str).collect();
        if !given.is_empty() {
            let message = format!("Unexpected argument(s): {}", given.join(", "));
            let help = Some(String::from("parameters need `version: 2.1`"));
            let span = Span {
                file: FileId(0),
                start: 0,
                end: 0,
            };
            self.error_help("E_PARAM_UNEXPECTED", message, span, help);
        }
    }

    fn setup(&mut self, root: &Ref) -> bool {
        let Some(setup) = root.entry("setup") else {
            return false;
        };
        match setup.value.value {
            Value::Bool(setup) => setup,
            Value::Null | Value::Bad => false,
            _ => {
                self.schema("setup must be a boolean", setup.value.span);
                false
            }
        }
    }

    /// At most one workflow of a setup config may run (language 14.1). Without a branch or tag nobody
    /// knows which, and that is worth a warning only.
    fn one_setup_workflow(&mut self, root: &Ref, workflows: &[Linked]) {
        let runs = |w: &&Draft| w.decision.runs && w.jobs.iter().any(|job| job.decision.runs);
        let names: Vec<&str> = workflows
            .iter()
            .map(|linked| &linked.draft)
            .filter(runs)
            .map(|w| w.name.as_str())
            .collect();
        let [_, second, ..] = names.as_slice() else {
            return;
        };
        let span = root
            .get("workflows")
            .and_then(|all| all.entry(second))
            .map_or(root.span, |entry| entry.key_span);
        let message = format!(
            "a setup config runs one workflow in each pipeline, and this one would run {}",
            names.join(" and ")
        );
        let help = String::from("give them conditions or filters that exclude each other");
        let revision = &self.trigger.revision;
        if revision.branch.is_some() || revision.tag.is_some() {
            self.error_help("E_SETUP", message, span, Some(help));
        } else {
            let mut warning = Diagnostic::new("W_SETUP", Severity::Warning, message, span);
            warning.help.push(help);
            self.report(warning);
        }
    }

    /// Groups of jobs as written (language 11); members are looked at where a group is invoked.
    fn groups(&mut self, root: &Ref) {
        let Some(node) = root.get("job-groups") else {
            return;
        };
        let Some(entries) = node.map() else {
            if !node.is_bad() {
                self.schema("`job-groups` is a map of names", node.span);
            }
            return;
        };
        for entry in entries {
            if entry.key.is_empty() || entry.key.contains('/') {
                let message = format!("a group cannot be called [{}]", entry.key);
                self.schema(message, entry.key_span);
                continue;
            }
            if root
                .get("jobs")
                .and_then(|jobs| jobs.entry(&entry.key))
                .is_some()
            {
                let message = format!("[{}] is a job and a group of jobs", entry.key);
                let help = Some(String::from("give one of them another name"));
                self.error_help("E_DUP", message, entry.key_span, help);
            }
            let Some(fields) = entry.value.map() else {
                if !entry.value.is_bad() {
                    let message = format!("the group {} is a map with `jobs`", entry.key);
                    self.schema(message, entry.key_span);
                }
                continue;
            };
            self.closed(fields, &["jobs"]);
            match entry.value.get("jobs").map(|jobs| (jobs.seq(), jobs.span)) {
                Some((Some([_, ..]), _)) => {
                    self.groups.insert(entry.key.clone(), entry.clone());
                }
                Some((_, span)) => {
                    self.schema("`jobs` of a group is a list of at least one job", span);
                }
                None => {
                    let message = format!("group {}: required key [jobs] not found", entry.key);
                    self.schema(message, entry.key_span);
                }
            }
        }
    }

    /// Whether this compilation was asked for by a schedule.
    pub(crate) fn scheduled(&self) -> bool {
        self.trigger.kind == TriggerKind::Schedule
    }

    /// Expands every element of an orb with made-up arguments, so that what it refers to is looked at.
    fn try_all(&mut self, space: SpaceId) {
        for kind in Kind::ALL {
            let names: Vec<String> = self
                .space(space)
                .map(|there| there.written(kind).keys().map(Text::to_string).collect())
                .unwrap_or_default();
            for name in names {
                self.try_one(space, kind, &name);
            }
        }
    }
}
