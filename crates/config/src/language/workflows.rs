//! Workflows and what they list.

use super::Takes::{
    Any, Either, Int, List, Logic, Map as A, Named, Prose, Several, Shape, Single, Step, Str, Text,
    Words,
};
use super::{Map, Others, Takes, closed, key, required};

/// An entry of a workflow: a name, or a name with keys.
const ENTRY: Takes = Either(&[Str, Single(&A(&INVOCATION))]);
const STATUS: Takes = Words(&[
    "success",
    "failed",
    "canceled",
    "unauthorized",
    "not_run",
    "terminal",
]);

pub(crate) static WORKFLOW: Map = closed(
    "workflow",
    "Jobs, and what they wait for.",
    &[
        required("jobs", List(&ENTRY, 1), "The jobs, by name, with keys."),
        key(
            "triggers",
            List(&A(&TRIGGER), 0),
            "Schedules; it runs on nothing else then.",
        ),
        key("when", Logic, "Runs only where this holds."),
        key("unless", Logic, "Runs only where this does not hold."),
        key(
            "max_auto_reruns",
            Int(1, 5),
            "How often a failed workflow is run again from what failed.",
        ),
        key("description", Prose, "Ignored."),
    ],
);

static TRIGGER: Map = closed(
    "trigger",
    "What starts the workflow.",
    &[required("schedule", A(&SCHEDULE), "Times.")],
);

static SCHEDULE: Map = closed(
    "schedule",
    "Times.",
    &[
        required("cron", Text, "Five fields, UTC."),
        key("filters", A(&FILTERS), "On which branches."),
    ],
);

pub(crate) static GROUP: Map = closed(
    "job-group",
    "Jobs that workflows list as one.",
    &[required("jobs", List(&ENTRY, 1), "The members.")],
);

/// The keys of an entry. All others are arguments of the job.
pub(crate) static INVOCATION: Map = Map {
    name: "entry",
    doc: "A job of a workflow. Keys that are not listed here are arguments of the job.",
    keys: &[
        key(
            "requires",
            List(&Either(&[Str, Single(&Several(&STATUS))]), 0),
            "Jobs that have to end first, each with how; `success` if nothing is said.",
        ),
        key("name", Text, "The name of the job here."),
        key(
            "context",
            Several(&Text),
            "Contexts whose variables it gets.",
        ),
        key("type", Words(&["approval"]), "A gate that a person opens."),
        key(
            "filters",
            Either(&[Str, A(&FILTERS)]),
            "On which branches and tags it runs, or an expression.",
        ),
        key(
            "matrix",
            A(&MATRIX),
            "Runs it once for each combination of values.",
        ),
        key("pre-steps", List(&Step, 0), "Steps before the job's own."),
        key("post-steps", List(&Step, 0), "Steps after the job's own."),
        key("serial-group", Str, "One job with this key runs at a time."),
        key(
            "override-with",
            Shape("/"),
            "A job of a URL orb that takes its place, if there is one.",
        ),
    ],
    others: Others::Arguments,
};

pub(crate) static FILTERS: Map = closed(
    "filters",
    "Which branches and tags. A job without `tags` runs on no tag.",
    &[
        key(
            "branches",
            A(&RULES),
            "Branches; all of them if nothing is said.",
        ),
        key("tags", A(&RULES), "Tags; none of them if nothing is said."),
    ],
);

pub(crate) static RULES: Map = closed(
    "rules",
    "Names, or patterns as `/pattern/`, which match a whole name.",
    &[
        key("only", Several(&Text), "These and no others."),
        key("ignore", Several(&Text), "All but these."),
    ],
);

pub(crate) static MATRIX: Map = closed(
    "matrix",
    "Values by parameter.",
    &[
        required(
            "parameters",
            Named(&Either(&[List(&Any, 0), Str])),
            "A list of values for each parameter.",
        ),
        key(
            "exclude",
            List(&Named(&Any), 0),
            "Combinations to leave out.",
        ),
        key("alias", Str, "What the members are called together."),
    ],
);
