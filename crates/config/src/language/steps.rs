//! The built-in steps. Other keys in them are ignored, because long-lived configs have them.

use super::Takes::{
    Any, Bool, Either, Int, List, Logic, Prose, Several, Shape, Step, Str, Text, Words,
};
use super::runs::{ENVIRONMENT, SHELL};
use super::{Key, Map, Others, Takes, key, required};

const WHEN: Takes = Words(&["on_success", "always", "on_fail"]);
const WHEN_DOC: &str = "Whether it runs after a step has failed.";
const NAME_DOC: &str = "The name that is shown.";
const DURATION: Takes = Shape("^[0-9]+(\\.[0-9]+)?[smh]$");

const fn step(name: &'static str, doc: &'static str, keys: &'static [Key]) -> Map {
    Map {
        name,
        doc,
        keys,
        others: Others::Ignored,
    }
}

pub(crate) static RUN: Map = step(
    "run",
    "A command in a shell.",
    &[
        required("command", Text, "The script."),
        key("name", Text, NAME_DOC),
        key("shell", SHELL, "The shell, instead of the job's."),
        key("environment", ENVIRONMENT, "Variables of this step."),
        key(
            "background",
            Bool,
            "Start it and go on; it ends with the job.",
        ),
        key("working_directory", Str, "Where it runs."),
        key(
            "no_output_timeout",
            DURATION,
            "How long it may be silent, such as `20m`.",
        ),
        key("when", WHEN, WHEN_DOC),
        key("max_auto_reruns", Int(1, 5), "How often it is tried again."),
        key(
            "auto_rerun_delay",
            Shape("^((10|[1-9])m|[1-9][0-9]*s)$"),
            "The pause before each further try.",
        ),
    ],
);

/// Every built-in step that is a map, in the order a reader meets them; `deploy` is as `run`.
pub(crate) static STEPS: &[&Map] = &[
    &RUN,
    &CHECKOUT,
    &REMOTE_DOCKER,
    &SAVE_CACHE,
    &RESTORE_CACHE,
    &STORE_ARTIFACTS,
    &STORE_TEST_RESULTS,
    &PERSIST,
    &ATTACH,
    &SSH_KEYS,
];

static CHECKOUT: Map = step(
    "checkout",
    "The sources.",
    &[
        key("path", Str, "Where to, instead of the working directory."),
        key(
            "method",
            Words(&["blobless", "full", "shallow"]),
            "How much of the history comes.",
        ),
        key(
            "depth",
            Int(1, i64::MAX),
            "How many commits of a shallow checkout.",
        ),
        key("name", Text, NAME_DOC),
    ],
);

static REMOTE_DOCKER: Map = step(
    "setup_remote_docker",
    "A Docker engine for a container job.",
    &[
        key("docker_layer_caching", Bool, "Keep layers for later jobs."),
        key("version", Text, "The version of the engine."),
        key("prefer_same_region", Bool, "Near the job."),
        key("name", Text, NAME_DOC),
    ],
);

static SAVE_CACHE: Map = step(
    "save_cache",
    "Keeps files for later runs under a key, which is written once.",
    &[
        required("paths", Several(&Text), "What to keep."),
        required(
            "key",
            Text,
            "The key, such as `deps-{{ checksum \"package-lock.json\" }}`.",
        ),
        key("name", Text, NAME_DOC),
        key("when", WHEN, WHEN_DOC),
    ],
);

static RESTORE_CACHE: Map = step(
    "restore_cache",
    "Brings back the newest files whose key starts with the first of these that matches.",
    &[
        key("key", Text, "A key, or the start of one."),
        key("keys", Several(&Text), "Several, tried in order."),
        key("name", Text, NAME_DOC),
        key("when", WHEN, WHEN_DOC),
    ],
);

static STORE_ARTIFACTS: Map = step(
    "store_artifacts",
    "Keeps files for people.",
    &[
        required("path", Text, "A file or a directory."),
        key("destination", Text, "What their paths start with."),
        key("name", Text, NAME_DOC),
    ],
);

static STORE_TEST_RESULTS: Map = step(
    "store_test_results",
    "Reads JUnit files.",
    &[
        required("path", Text, "A file, or a directory of them."),
        key("name", Text, NAME_DOC),
    ],
);

static PERSIST: Map = step(
    "persist_to_workspace",
    "Hands files to later jobs of the workflow.",
    &[
        required("root", Text, "What the paths are relative to."),
        required("paths", Several(&Text), "What to hand on."),
        key("name", Text, NAME_DOC),
    ],
);

static ATTACH: Map = step(
    "attach_workspace",
    "Brings the files of earlier jobs of the workflow.",
    &[
        required("at", Text, "Where to."),
        key("name", Text, NAME_DOC),
    ],
);

static SSH_KEYS: Map = step(
    "add_ssh_keys",
    "SSH keys of the project.",
    &[
        key("fingerprints", Several(&Text), "Which; without it, all."),
        key("name", Text, NAME_DOC),
    ],
);

pub(crate) static CONDITIONAL: Map = Map {
    name: "conditional",
    doc: "Steps that are there or not, decided while the config is compiled.",
    keys: &[
        required("condition", Logic, "What decides."),
        required("steps", Either(&[List(&Step, 0), Step]), "The steps."),
        key("name", Any, "Ignored."),
        key("description", Prose, "Ignored."),
    ],
    others: Others::Refused,
};

pub(crate) static MATCHES: Map = Map {
    name: "matches",
    doc: "Whether a whole text matches a pattern.",
    keys: &[
        required("pattern", Str, "A regular expression without slashes."),
        required("value", Any, "The text."),
    ],
    others: Others::Refused,
};
