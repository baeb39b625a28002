//! Executors: looked up, bound, and turned into the place a job runs in (language 6).

use std::rc::Rc;

use capstan_model::plan::{Container, Executor, RegistryAuth};
use capstan_model::source::OriginKind;

use super::entry;
use crate::ast::Kind;
use crate::compiler::{Compiler, Scope};
use crate::space::SpaceId;
use crate::yaml::{Entry, Node, Ref, Text, Value};

const CONTAINER_KEYS: &[&str] = &[
    "image",
    "name",
    "entrypoint",
    "command",
    "user",
    "environment",
    "auth",
    "aws_auth",
    "gcp_auth",
];

/// An invocation of an executor as written.
struct Call {
    name: Text,
    arguments: Vec<Entry>,
    /// Where the name is looked up.
    space: SpaceId,
}

impl Compiler<'_> {
    /// The fields of the executor that `node` invokes; `None` where a mistake was reported.
    pub(crate) fn executor(&mut self, node: &Ref, scope: &Scope) -> Option<Vec<Entry>> {
        let node = self.subst(node, scope);
        let call = self.executor_call(&node, scope.space)?;
        let definition = self.resolve(call.space, Kind::Executor, &call.name, node.span)?;
        if definition.broken {
            return None;
        }
        let kind = OriginKind::Executor(call.name.to_string());
        self.inside(&definition, kind, node.span, |this| {
            let scope = this.bind(&definition, &call.arguments, call.space, node.span);
            let fields = definition.node.map().unwrap_or_default();
            let fields = fields
                .iter()
                .filter(|e| e.key != "parameters" && e.key != "description" && !e.value.is_null())
                .map(|e| {
                    let field = e.with(this.subst(&e.value, &scope));
                    this.note_field(&field);
                    field
                });
            Some(fields.collect())
        })
    }

    fn executor_call(&mut self, node: &Ref, space: SpaceId) -> Option<Call> {
        let space = node.closed_over().unwrap_or(space);
        match node.open() {
            Value::Bad => None,
            Value::Str(name) => Some(Call {
                name: name.clone(),
                arguments: Vec::new(),
                space,
            }),
            Value::Map(entries) => {
                let Some(name) = node.get("name") else {
                    let message = "Unexpected executor invocation format: the map has no `name`";
                    let help = match entries.as_slice() {
                        [only] => Some(format!("write `executor: {{name: {}, …}}`", only.key)),
                        _ => None,
                    };
                    self.error_help("E_SCHEMA", message, node.span, help);
                    return None;
                };
                // An executor parameter under `name` brings the space of its own, and may be a map.
                let mut call = match name.open() {
                    Value::Bad => return None,
                    Value::Str(_) | Value::Map(_) => self.executor_call(name, space)?,
                    _ => {
                        self.schema("Unexpected executor invocation format", name.span);
                        return None;
                    }
                };
                for entry in entries.iter().filter(|e| e.key != "name") {
                    call.arguments.retain(|e| e.key != entry.key);
                    call.arguments.push(entry.clone());
                }
                Some(call)
            }
            _ => {
                let message =
                    "Unexpected executor invocation format: write a name, or a map with `name`";
                self.schema(message, node.span);
                None
            }
        }
    }

    /// `docker:`, as processed and as containers.
    pub(crate) fn docker(&mut self, node: &Ref) -> Option<(Ref, Executor)> {
        let items = match &node.value {
            Value::Seq(items) if !items.is_empty() => items,
            Value::Bad => return None,
            _ => {
                let message = "`docker` is a list of at least one container, each with an `image`";
                let help = String::from("begin each container with a dash: `- image: …`");
                self.error_help("E_SCHEMA", message, node.span, Some(help));
                return None;
            }
        };
        let (mut processed, mut containers) = (Vec::new(), Vec::new());
        for (i, item) in items.iter().enumerate() {
            if i == 1 {
                let message = "service containers (further entries of `docker`)";
                self.unsupported("U_SERVICES", message, item.span);
            }
            if let Some((node, container)) = self.container(item) {
                processed.push(node);
                containers.push(container);
            }
        }
        if containers.is_empty() {
            return None;
        }
        Some((
            Node::new(Value::Seq(processed), node.span),
            Executor::Docker(containers),
        ))
    }

    fn container(&mut self, node: &Ref) -> Option<(Ref, Container)> {
        let Some(entries) = node.map() else {
            if !node.is_bad() {
                self.schema("an entry of `docker` is a map with an `image`", node.span);
            }
            return None;
        };
        self.closed(entries, CONTAINER_KEYS);
        let mut container = Container::default();
        let mut processed = Vec::new();
        if node.get("image").is_none() {
            self.schema("required key [image] not found", node.span);
        }
        for field in entries.iter().filter(|e| !e.value.is_null()) {
            let value = &field.value;
            let mut kept = Rc::clone(value);
            match field.key.as_str() {
                "image" => {
                    container.image = self.string("image", value)?;
                    if container.image.is_empty() {
                        self.schema("`image` is empty", value.span);
                    }
                }
                "name" => container.name = self.string("name", value),
                "entrypoint" => container.entrypoint = self.strings("entrypoint", value),
                "command" => container.command = self.strings("command", value),
                "user" => container.user = value.source_text(),
                "environment" => {
                    (kept, container.environment) = self.environment(value);
                }
                "auth" => {
                    self.closed(value.map().unwrap_or_default(), &["username", "password"]);
                    let part = |key: &str| value.get(key).and_then(|n| n.source_text());
                    match (part("username"), part("password")) {
                        (Some(username), Some(password)) => {
                            container.auth = Some(RegistryAuth { username, password });
                        }
                        _ if value.is_bad() => {}
                        _ => self.schema("`auth` needs `username` and `password`", value.span),
                    }
                }
                "aws_auth" | "gcp_auth" => {
                    let message = format!("`{}` of a container", field.key);
                    self.unsupported("U_REGISTRY_AUTH", message, field.key_span);
                }
                _ => continue,
            }
            processed.push(Entry {
                value: kept,
                ..field.clone()
            });
        }
        Some((Node::new(Value::Map(processed), node.span), container))
    }

    /// `machine:`, as processed and as executor; what stands inside of the job's keys is returned too.
    pub(crate) fn machine(
        &mut self,
        node: &Ref,
        class: Option<&str>,
    ) -> Option<(Ref, Executor, Vec<Entry>)> {
        let plain = |image| Executor::Machine {
            image,
            docker_layer_caching: false,
        };
        match &node.value {
            Value::Bool(true) => Some((Rc::clone(node), plain(None), Vec::new())),
            Value::Str(image) => {
                if !class.is_some_and(|class| class.contains('/')) {
                    crate::checks::image::check(self, image, node.span);
                }
                let image = Some(image.to_string()).filter(|image| image != "default");
                Some((Rc::clone(node), plain(image), Vec::new()))
            }
            Value::Map(entries) => {
                let keys = [
                    "image",
                    "docker_layer_caching",
                    "enabled",
                    "resource_class",
                    "shell",
                ];
                self.closed(entries, &keys);
                let image = node.get("image").and_then(|n| self.string("image", n));
                let caching = node.get("docker_layer_caching");
                let caching = caching.and_then(|n| self.boolean("docker_layer_caching", n));
                let inner = node.get("resource_class").and_then(|n| n.str());
                let runner = class.or(inner).is_some_and(|class| class.contains('/'));
                if let (Some(image), Some(at), false) = (&image, node.get("image"), runner) {
                    crate::checks::image::check(self, image, at.span);
                }
                if image.is_none() && !runner {
                    let message = "`machine` has no `image`; the default image is used";
                    self.warn("W_IMAGE", message, node.span);
                }
                let moved = ["resource_class", "shell"];
                let is_moved = |e: &&Entry| moved.contains(&e.key.as_str());
                let out: Vec<Entry> = entries.iter().filter(is_moved).cloned().collect();
                let executor = Executor::Machine {
                    image,
                    docker_layer_caching: caching.unwrap_or(false),
                };
                let kept: Vec<Entry> = entries
                    .iter()
                    .filter(|e| !is_moved(e) && !e.value.is_null())
                    .cloned()
                    .collect();
                let kept = if kept.is_empty() {
                    Value::Bool(true)
                } else {
                    Value::Map(kept)
                };
                Some((Node::new(kept, node.span), executor, out))
            }
            Value::Bad => None,
            _ => {
                self.schema(
                    "`machine` is `true`, an image, or a map with an `image`",
                    node.span,
                );
                None
            }
        }
    }

    /// `macos:`, as processed and as executor.
    pub(crate) fn macos(&mut self, node: &Ref) -> Option<(Ref, Executor, Vec<Entry>)> {
        let Some(entries) = node.map() else {
            if !node.is_bad() {
                self.schema("`macos` is a map with an `xcode`", node.span);
            }
            return None;
        };
        self.closed(
            entries,
            &["xcode", "code_signing", "resource_class", "shell"],
        );
        let Some(xcode) = node.get("xcode").and_then(|n| n.source_text()) else {
            self.schema("macos: required key [xcode] not found", node.span);
            return None;
        };
        let span = node.span;
        let moved = |e: &&Entry| e.key == "resource_class" || e.key == "shell";
        let out = entries.iter().filter(moved).cloned().collect();
        let mut kept = vec![entry(
            "xcode",
            Node::new(Value::Str(xcode.as_str().into()), span),
        )];
        kept.extend(
            node.entry("code_signing")
                .filter(|e| !e.value.is_null())
                .cloned(),
        );
        Some((
            Node::new(Value::Map(kept), span),
            Executor::Macos { xcode },
            out,
        ))
    }
}
