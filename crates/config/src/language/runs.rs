//! Where jobs run.

use super::Takes::{Any, Bool, Either, List, Map as A, Named, Several, Str, Text};
use super::{Map, Others, Takes, closed, deprecated, key, required};

/// Variables in their three forms.
pub(super) const ENVIRONMENT: Takes =
    Either(&[Named(&Text), List(&Either(&[Str, Named(&Text)]), 0), Str]);
pub(super) const SHELL: Takes = Several(&Text);
pub(super) const EXECUTOR_CALL: Takes = Either(&[Str, A(&CALL)]);

static CALL: Map = Map {
    name: "executor-call",
    doc: "An executor with arguments.",
    keys: &[required("name", Any, "The executor.")],
    others: Others::Arguments,
};

pub(crate) static CONTAINER: Map = closed(
    "container",
    "A container.",
    &[
        required("image", Str, "The image, as `docker pull` takes it."),
        key(
            "name",
            Str,
            "The host name that the other containers reach it by.",
        ),
        key("entrypoint", Several(&Text), "Instead of the image's own."),
        key("command", Several(&Text), "Instead of the image's own."),
        key("user", Text, "The user that runs in it."),
        key("environment", ENVIRONMENT, "Variables of this container."),
        key("auth", A(&AUTH), "Login of the registry."),
        key("aws_auth", A(&AWS_AUTH), "Login of Amazon's registry."),
        key("gcp_auth", A(&GCP_AUTH), "Login of Google's registry."),
    ],
);

pub(crate) static AUTH: Map = closed(
    "auth",
    "Login of a registry; values may be `$VARIABLES` of a context or the project.",
    &[
        required("username", Text, "The user."),
        required("password", Text, "The password, as `$VARIABLE`."),
    ],
);

static AWS_AUTH: Map = Map {
    name: "aws_auth",
    doc: "Login of Amazon's registry, by keys or by a role.",
    keys: &[
        key("aws_access_key_id", Text, "The id of the key."),
        key("aws_secret_access_key", Text, "The key, as `$VARIABLE`."),
        key("oidc_role_arn", Text, "The role, instead of a key."),
    ],
    others: Others::Ignored,
};

static GCP_AUTH: Map = Map {
    name: "gcp_auth",
    doc: "Login of Google's registry by OIDC.",
    keys: &[
        key("oidc_service_account", Text, "The service account."),
        key("workload_identity_pool", Text, "The pool."),
        key("workload_identity_provider", Text, "The provider."),
    ],
    others: Others::Ignored,
};

pub(crate) static MACHINE: Map = closed(
    "machine",
    "A virtual machine.",
    &[
        key("image", Str, "The image, such as `ubuntu-2404:current`."),
        key(
            "docker_layer_caching",
            Bool,
            "Keep the layers of images for later jobs.",
        ),
        deprecated("enabled", Bool, "Means nothing."),
        key("resource_class", Str, "The size of the machine."),
        key("shell", SHELL, "The shell of `run` steps."),
    ],
);

pub(crate) static MACOS: Map = closed(
    "macos",
    "macOS.",
    &[
        required("xcode", Text, "The version of Xcode; quote it."),
        key("code_signing", List(&Any, 0), "Signing bundles."),
        key("resource_class", Str, "The size of the machine."),
        key("shell", SHELL, "The shell of `run` steps."),
    ],
);
