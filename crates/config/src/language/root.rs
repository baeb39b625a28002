//! The config itself, and what it defines.

use super::Takes::{
    Any, Bool, Either, Int, List, Map as A, Named, Prose, Shape, Step, Str, Text, Words,
};
use super::runs::{CONTAINER, ENVIRONMENT, EXECUTOR_CALL, MACHINE, MACOS, SHELL};
use super::workflows::{GROUP, RULES, WORKFLOW};
use super::{Map, Others, Takes, closed, deprecated, key, required};

pub(crate) static ROOT: Map = Map {
    name: "config",
    doc: "A CircleCI config.",
    keys: &[
        required(
            "version",
            Words(&["2", "2.0", "2.1"]),
            "The version of the language; new configs say 2.1.",
        ),
        key(
            "setup",
            Bool,
            "This config decides what the pipeline continues with.",
        ),
        key(
            "orbs",
            Named(&Either(&[Str, A(&ORB)])),
            "Orbs by the name they get here: `namespace/name@version`, a URL, or an orb written in place.",
        ),
        key(
            "parameters",
            Named(&A(&PARAMETER)),
            "Pipeline parameters, read as `pipeline.parameters.NAME`; each has a default.",
        ),
        key(
            "executors",
            Named(&Either(&[Str, A(&EXECUTOR)])),
            "Environments that several jobs run in.",
        ),
        key(
            "commands",
            Named(&Either(&[Str, A(&COMMAND)])),
            "Steps that several jobs share.",
        ),
        key(
            "jobs",
            Named(&Either(&[Str, A(&JOB)])),
            "Jobs, for workflows to list.",
        ),
        key(
            "job-groups",
            Named(&A(&GROUP)),
            "Jobs that workflows list as one.",
        ),
        key(
            "workflows",
            Named(&Either(&[A(&WORKFLOW), Text])),
            "Which jobs run, when, and what waits for what.",
        ),
        key(
            "experimental",
            Any,
            "Which branches send notifications: `notify.branches`.",
        ),
        key("description", Prose, "For the source of an orb; ignored."),
        key("display", Any, "For the source of an orb; ignored."),
        key("examples", Any, "For the source of an orb; ignored."),
    ],
    others: Others::Ignored,
};

pub(crate) static ORB: Map = closed(
    "orb",
    "An orb written in place. It sees nothing of the config around it.",
    &[
        key("jobs", Named(&Either(&[Str, A(&JOB)])), "Jobs of the orb."),
        key(
            "commands",
            Named(&Either(&[Str, A(&COMMAND)])),
            "Commands of the orb.",
        ),
        key(
            "executors",
            Named(&Either(&[Str, A(&EXECUTOR)])),
            "Executors of the orb.",
        ),
        key(
            "orbs",
            Named(&Either(&[Str, A(&ORB)])),
            "Orbs that this orb uses.",
        ),
        key("version", Text, "Ignored here."),
        key("name", Text, "Ignored here."),
        key("description", Prose, "Ignored here."),
        key("display", Any, "Ignored here."),
        key("examples", Any, "Ignored here."),
    ],
);

pub(crate) static PARAMETER: Map = closed(
    "parameter",
    "A parameter, read as `<< parameters.NAME >>` in the text of what declares it.",
    &[
        required(
            "type",
            Words(&[
                "string",
                "boolean",
                "integer",
                "enum",
                "executor",
                "steps",
                "env_var_name",
            ]),
            "What values it takes.",
        ),
        key("description", Prose, "For readers."),
        key(
            "default",
            Any,
            "The value where none is given; without one it is required.",
        ),
        key("enum", List(&Any, 1), "The values of an `enum`."),
    ],
);

pub(crate) static EXECUTOR: Map = closed(
    "executor",
    "An environment: containers, a machine or macOS.",
    &[
        key("docker", DOCKER, DOCKER_DOC),
        key("machine", MACHINE_FORMS, MACHINE_DOC),
        key("macos", A(&MACOS), MACOS_DOC),
        key("resource_class", Str, CLASS_DOC),
        key("shell", SHELL, SHELL_DOC),
        key("working_directory", Str, DIRECTORY_DOC),
        key("environment", ENVIRONMENT, ENVIRONMENT_DOC),
        key(
            "parameters",
            Named(&A(&PARAMETER)),
            "Parameters of the executor.",
        ),
        key("description", Prose, "For readers."),
    ],
);

pub(crate) static COMMAND: Map = closed(
    "command",
    "Steps under a name, called as a step.",
    &[
        required(
            "steps",
            List(&Step, 0),
            "What stands in the place of the call.",
        ),
        key(
            "parameters",
            Named(&A(&PARAMETER)),
            "Parameters of the command.",
        ),
        key("description", Prose, "For readers."),
    ],
);

pub(crate) static JOB: Map = closed(
    "job",
    "Steps, and where they run.",
    &[
        key(
            "type",
            Words(&["build", "release", "no-op", "approval", "lock", "unlock"]),
            "What the job does; `build` runs steps.",
        ),
        key("description", Prose, "For readers."),
        key(
            "parameters",
            Named(&A(&PARAMETER)),
            "Parameters of the job, given where a workflow lists it.",
        ),
        key("docker", DOCKER, DOCKER_DOC),
        key("machine", MACHINE_FORMS, MACHINE_DOC),
        key("macos", A(&MACOS), MACOS_DOC),
        key(
            "executor",
            EXECUTOR_CALL,
            "The name of an executor, or a map of its `name` and arguments.",
        ),
        key("steps", List(&Step, 1), "What the job does, in order."),
        key("shell", SHELL, SHELL_DOC),
        key("working_directory", Str, DIRECTORY_DOC),
        key("environment", ENVIRONMENT, ENVIRONMENT_DOC),
        key("resource_class", Str, CLASS_DOC),
        key(
            "parallelism",
            Either(&[Int(1, i64::MAX), Shape("^[1-9][0-9]*$")]),
            "How many copies of the job run at once.",
        ),
        key(
            "circleci_ip_ranges",
            Bool,
            "Run from addresses that are published.",
        ),
        key("retention", A(&RETENTION), "How long caches are kept."),
        deprecated(
            "branches",
            A(&RULES),
            "Means nothing to workflows; use `filters` there.",
        ),
        key(
            "key",
            Str,
            "The serial key of a job of type `lock` or `unlock`.",
        ),
        key("plan_name", Str, "The plan of a job of type `release`."),
        key("validation", Any, "How a job of type `release` is judged."),
    ],
);

static RETENTION: Map = closed(
    "retention",
    "How long things are kept.",
    &[key(
        "caches",
        Shape("^([1-9]|[12][0-9]|30)d$"),
        "`1d` to `30d`.",
    )],
);

const DOCKER: Takes = List(&A(&CONTAINER), 1);
const DOCKER_DOC: &str = "Containers; the first is where steps run.";
const MACHINE_FORMS: Takes = Either(&[Bool, Str, A(&MACHINE)]);
const MACHINE_DOC: &str = "A virtual machine: `true`, an image, or a map.";
const MACOS_DOC: &str = "macOS with a version of Xcode.";
const CLASS_DOC: &str = "The size of the machine, or `namespace/name` of a runner of yours.";
const SHELL_DOC: &str = "The shell of `run` steps, with its arguments.";
const DIRECTORY_DOC: &str = "Where steps run; made if it is not there.";
const ENVIRONMENT_DOC: &str = "Variables; the job's win over the executor's.";
