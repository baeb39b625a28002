//! Fetches what `config` says is missing, and calls it again, until there is nothing it lacks.

use capstan_config::{Compiled, Diagnostic, Orb, Severity, Sources};
use capstan_model::{Plan, Trigger};
use futures_util::StreamExt as _;

use crate::orbs::Orbs;

/// How deep orbs may import orbs.
const MAX_ROUNDS: usize = 32;
/// How deep orbs by address may.
const MAX_URL_ROUNDS: usize = 5;
/// How many references one compilation may need.
const MAX_ORBS: usize = 200;
/// How many of them may be addresses.
const MAX_URLS: usize = 50;
/// How much text they may hold together, in bytes.
const MAX_BYTES: usize = 32 << 20;
/// How many are asked for at once.
const AT_ONCE: usize = 4;

/// A compilation that came to its end.
#[derive(Debug)]
pub struct Done {
    /// The config, and the orbs that were brought.
    pub sources: Sources,
    /// What it was compiled for.
    pub trigger: Trigger,
    /// The plan, if no diagnostic is an error.
    pub plan: Option<Box<Plan>>,
    /// Everything found.
    pub diagnostics: Vec<Diagnostic>,
}

impl Done {
    /// Whether something of this severity was found.
    pub fn has(&self, severity: Severity) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == severity)
    }
}

/// What is called again and again: [`capstan_config::compile`], or something of its shape.
pub type Compiler = fn(&Sources, &Trigger) -> Compiled;

/// Compiles, and brings the orbs that are needed. One that cannot be brought is a diagnostic.
///
/// # Errors
/// The compiler itself failed.
pub async fn compile(
    compiler: Compiler,
    sources: Sources,
    trigger: Trigger,
    orbs: &dyn Orbs,
) -> Result<Done, String> {
    let (mut sources, mut trigger) = (sources, trigger);
    let mut spent = Spent::default();
    // After the last round everything is answered with a refusal, and one more compilation ends it.
    for round in 1..=MAX_ROUNDS + 2 {
        let compiled;
        (sources, trigger, compiled) = run(compiler, sources, trigger).await?;
        let missing = match compiled {
            Compiled::Done { plan, diagnostics } => {
                return Ok(Done {
                    sources,
                    trigger,
                    plan,
                    diagnostics,
                });
            }
            Compiled::Missing(missing) => missing,
        };
        let (asked, refused) = spent.admit(missing, round);
        for (reference, why) in refused {
            sources.add_orb(reference, Orb::Unavailable(why));
        }
        let finds: Vec<_> = asked.iter().map(|reference| orbs.find(reference)).collect();
        let mut answers = futures_util::stream::iter(finds).buffered(AT_ONCE);
        // In the order they were asked for, so that the same config numbers its files in the same way.
        for reference in &asked {
            let Some(answer) = answers.next().await else {
                break;
            };
            sources.add_orb(reference.as_str(), spent.weigh(answer));
        }
    }
    Err(String::from(
        "the compiler asks again for orbs that were answered",
    ))
}

/// Compiling is work for a thread that may be busy.
async fn run(
    compiler: Compiler,
    sources: Sources,
    trigger: Trigger,
) -> Result<(Sources, Trigger, Compiled), String> {
    tokio::task::spawn_blocking(move || {
        let compiled = compiler(&sources, &trigger);
        (sources, trigger, compiled)
    })
    .await
    .map_err(|error| error.to_string())
}

/// What a compilation has used of its bounds.
#[derive(Default)]
struct Spent {
    orbs: usize,
    urls: usize,
    bytes: usize,
}

impl Spent {
    /// Which references may be asked for in this round, and why the others may not.
    fn admit(
        &mut self,
        missing: Vec<String>,
        round: usize,
    ) -> (Vec<String>, Vec<(String, String)>) {
        let mut asked = Vec::new();
        let mut refused = Vec::new();
        for reference in missing {
            let url = reference.contains("://");
            self.orbs += 1;
            self.urls += usize::from(url);
            // A reference is first asked for in the round of its depth.
            let why = if round > MAX_ROUNDS {
                format!("orbs import orbs more than {MAX_ROUNDS} deep")
            } else if url && round > MAX_URL_ROUNDS {
                format!("orbs by address are imported more than {MAX_URL_ROUNDS} deep")
            } else if self.orbs > MAX_ORBS {
                format!("a config may need {MAX_ORBS} orbs at most, with those that orbs import")
            } else if url && self.urls > MAX_URLS {
                format!("a config may need {MAX_URLS} orbs by address at most")
            } else {
                asked.push(reference);
                continue;
            };
            refused.push((reference, why));
        }
        (asked, refused)
    }

    fn weigh(&mut self, answer: Orb) -> Orb {
        let Orb::Found { text, .. } = &answer else {
            return answer;
        };
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > MAX_BYTES {
            return Orb::Unavailable(format!(
                "the orbs of one config may hold {} MiB together",
                MAX_BYTES >> 20
            ));
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use capstan_model::trigger::{Project, Revision, Selection, TriggerKind};
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::driver::lock;

    /// Answers everything, and remembers what it was asked.
    #[derive(Default)]
    struct Everything {
        asked: Mutex<Vec<String>>,
        text: String,
    }

    impl Orbs for Everything {
        fn find<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Orb> {
            lock(&self.asked).push(reference.to_owned());
            let orb = Orb::Found {
                exact: reference.to_owned(),
                text: self.text.clone(),
            };
            Box::pin(async move { orb })
        }
    }

    fn trigger() -> Trigger {
        Trigger {
            pipeline: capstan_model::PipelineId(uuid::Uuid::nil()),
            number: 1,
            actor: String::new(),
            kind: TriggerKind::CommandLine,
            received_at_ms: 0,
            project: Project::default(),
            revision: Revision::default(),
            parameters: BTreeMap::new(),
            selection: Selection::default(),
            values: BTreeMap::new(),
        }
    }

    async fn asked(compiler: Compiler, text: &str) -> (Result<Done, String>, Vec<String>) {
        let orbs = Everything {
            text: text.to_owned(),
            ..Everything::default()
        };
        let sources = Sources::new("config.yml", "version: 2.1");
        let done = compile(compiler, sources, trigger(), &orbs).await;
        (done, lock(&orbs.asked).clone())
    }

    fn done() -> Compiled {
        Compiled::Done {
            plan: None,
            diagnostics: Vec::new(),
        }
    }

    /// Each orb that was brought imports one more.
    fn one_more(sources: &Sources, _: &Trigger) -> Compiled {
        Compiled::Missing(vec![format!("acme/x@{}", sources.files().len())])
    }

    #[tokio::test]
    async fn what_orbs_import_is_brought_round_by_round_and_filed_in_order() {
        fn three_deep(sources: &Sources, trigger: &Trigger) -> Compiled {
            match sources.files().len() {
                1 => Compiled::Missing(vec![String::from("acme/b@1"), String::from("acme/a@1")]),
                2..=4 => one_more(sources, trigger),
                _ => done(),
            }
        }
        let (done, asked) = asked(three_deep, "version: 2.1").await;
        assert_eq!(asked, ["acme/b@1", "acme/a@1", "acme/x@3", "acme/x@4"]);
        let files: Vec<String> = done
            .unwrap()
            .sources
            .files()
            .iter()
            .map(|file| file.name.clone())
            .collect();
        assert_eq!(files[1..], ["acme/b@1", "acme/a@1", "acme/x@3", "acme/x@4"]);
    }

    #[tokio::test]
    async fn imports_without_end_come_to_one() {
        let (done, asked) = asked(one_more, "").await;
        assert!(done.is_err());
        assert_eq!(asked.len(), MAX_ROUNDS);

        fn addresses(sources: &Sources, _: &Trigger) -> Compiled {
            Compiled::Missing(vec![format!(
                "https://orbs.example/{}",
                sources.files().len()
            )])
        }
        let (_, asked) = self::asked(addresses, "").await;
        assert_eq!(asked.len(), MAX_URL_ROUNDS);
    }

    #[tokio::test]
    async fn too_many_orbs_and_too_much_text_are_refused() {
        fn many(sources: &Sources, _: &Trigger) -> Compiled {
            match sources.files().len() {
                1 => Compiled::Missing((0..500).map(|n| format!("acme/x{n}@1")).collect()),
                _ => done(),
            }
        }
        fn addresses(sources: &Sources, _: &Trigger) -> Compiled {
            match sources.files().len() {
                1 => Compiled::Missing(
                    (0..100)
                        .map(|n| format!("https://orbs.example/{n}"))
                        .collect(),
                ),
                _ => done(),
            }
        }
        let (done, asked) = self::asked(many, "").await;
        assert_eq!(asked.len(), MAX_ORBS);
        assert_eq!(done.unwrap().sources.files().len(), 1 + MAX_ORBS);
        let (_, asked) = self::asked(addresses, "").await;
        assert_eq!(asked.len(), MAX_URLS);
        let (done, _) = self::asked(many, &"x".repeat(1 << 20)).await;
        let files = done.unwrap().sources.files().len();
        assert_eq!(files, 1 + (MAX_BYTES >> 20));
    }
}
