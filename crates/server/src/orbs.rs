//! Where orbs come from.
//!
//! The compiler names the orbs it lacks; [`crate::compile`] asks an [`Orbs`] for them. [`OrbSources`] is
//! the one that people use: folders first, then registries in order, with a cache on disk between, and
//! addresses that are on the list of allowed prefixes.

pub mod cache;
pub mod folder;
pub mod reference;
pub mod registry;
mod url_orb;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

pub use capstan_config::Orb;
use futures_util::future::BoxFuture;

use crate::driver::lock;
use crate::net::{Net, NetSettings};
use cache::{Cache, Cached};
use folder::Folder;
use reference::{Reference, Version};
use registry::Registry;
pub use url_orb::{Prefix, UrlOrbs};

/// The largest orb, in bytes: what the compiler takes of any text.
pub const MAX_TEXT: usize = 4 << 20;

/// Answers for the references that a compilation lacks.
pub trait Orbs: Send + Sync {
    /// The answer for a reference, as the config writes it with its tags replaced.
    fn find<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Orb>;
}

/// An orb's text, and what the reference resolved to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// `circleci/node@5.2.0`, or the URL.
    pub exact: String,
    /// Its YAML.
    pub text: String,
}

impl From<Found> for Orb {
    fn from(found: Found) -> Self {
        Self::Found {
            exact: found.exact,
            text: found.text,
        }
    }
}

/// Called with a reference before it is asked for over the network.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// What [`OrbSources`] is made with.
#[derive(Default)]
pub struct OrbSettings {
    /// Folders, in the order they are looked at.
    pub folders: Vec<PathBuf>,
    /// Registries, in the order they are asked.
    pub registries: Vec<Registry>,
    /// Which addresses an orb may be fetched from.
    pub urls: UrlOrbs,
    /// Where fetched orbs are kept.
    pub cache: Option<PathBuf>,
    /// Whether no connection may be opened.
    pub offline: bool,
    /// The client.
    pub net: NetSettings,
    /// Told of each fetch before it begins.
    pub notice: Option<Notice>,
}

/// Folders, cache, registries and addresses.
pub struct OrbSources {
    folders: Vec<Folder>,
    registries: Vec<Registry>,
    urls: UrlOrbs,
    cache: Option<Cache>,
    net: Option<Net>,
    notice: Option<Notice>,
}

impl OrbSources {
    /// Makes it; nothing is opened or looked at yet.
    ///
    /// # Errors
    /// A setting of the client is wrong.
    pub fn new(settings: OrbSettings) -> Result<Self, String> {
        Ok(Self {
            folders: settings.folders.into_iter().map(Folder::new).collect(),
            registries: settings.registries,
            urls: settings.urls,
            cache: settings.cache.map(Cache::new),
            // Without a client there is nothing that could open a connection.
            net: match settings.offline {
                true => None,
                false => Some(Net::new(settings.net)?),
            },
            notice: settings.notice,
        })
    }

    /// The folders, in order.
    pub fn folders(&self) -> &[Folder] {
        &self.folders
    }

    /// The registries, in order.
    pub fn registries(&self) -> &[Registry] {
        &self.registries
    }

    /// The client; `None` when no connection may be opened.
    pub fn net(&self) -> Option<&Net> {
        self.net.as_ref()
    }

    /// What the sources have of a reference. An address is an allowed one.
    async fn answer(&self, text: &str, asked: Reference) -> Result<Option<Found>, String> {
        match asked {
            Reference::Url(url) => self.fetch_url(text, &url).await.map(Some),
            Reference::Registry {
                namespace,
                name,
                version,
            } => {
                let folders = self.folders.clone();
                let wanted = version.clone();
                let found = on_disk(move || {
                    let mut found = folders
                        .iter()
                        .map(|folder| folder.find(&namespace, &name, &wanted));
                    found.find_map(Result::transpose).transpose()
                });
                match found.await?? {
                    Some(found) => Ok(Some(found)),
                    None => self.ask_registries(text, &version).await,
                }
            }
        }
    }

    /// An exact version never changes, so one that was fetched once is never asked for again; what may
    /// change is taken from the cache only where nobody can be asked.
    async fn ask_registries(
        &self,
        reference: &str,
        version: &Version,
    ) -> Result<Option<Found>, String> {
        let mut damaged = false;
        if matches!(version, Version::Exact(_)) || self.net.is_none() {
            for registry in &self.registries {
                match self.cached(registry.id(), reference).await? {
                    Cached::Found(found, _) => return Ok(Some(found)),
                    Cached::Damaged => damaged = true,
                    Cached::Absent => {}
                }
            }
        }
        let Some(net) = &self.net else {
            return Err(self.offline(reference, version, damaged));
        };
        if !self.registries.is_empty() {
            self.tell(reference);
        }
        for registry in &self.registries {
            // A registry that fails ends the search: the next one may hold another orb of that name.
            if let Some(found) = registry.orb(net, reference, version).await? {
                self.keep(registry.id(), reference, &found).await;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn fetch_url(&self, text: &str, url: &url::Url) -> Result<Found, String> {
        match self.cached(url_orb::REGISTRY, text).await? {
            Cached::Found(found, age) if self.net.is_none() || age < url_orb::FRESH => {
                return Ok(found);
            }
            Cached::Found(..) | Cached::Absent | Cached::Damaged => {}
        }
        let Some(net) = &self.net else {
            return Err(String::from(
                "--offline opens no connection, and it is not in the cache; run once without --offline",
            ));
        };
        self.tell(text);
        let found = self.urls.fetch(net, text, url).await?;
        self.keep(url_orb::REGISTRY, text, &found).await;
        Ok(found)
    }

    fn offline(&self, reference: &str, version: &Version, damaged: bool) -> String {
        let cache = match (&self.cache, damaged) {
            (_, true) => "its copy in the cache is damaged",
            (Some(_), false) => "it is not in the cache",
            (None, false) => "there is no cache",
        };
        let path = match (version, reference.split_once('@')) {
            (Version::Exact(_) | Version::Dev(_), Some((orb, version))) => {
                format!("{orb}/{version}.yml")
            }
            (_, Some((orb, _))) => format!("{orb}/VERSION.yml"),
            (_, None) => String::from("its file"),
        };
        format!(
            "--offline opens no connection, {cache}, and no --orb-dir has it; run once without \
             --offline, or put {path} into a folder and name that by --orb-dir"
        )
    }

    async fn cached(&self, registry: &str, reference: &str) -> Result<Cached, String> {
        let Some(cache) = self.cache.clone() else {
            return Ok(Cached::Absent);
        };
        let (registry, reference) = (registry.to_owned(), reference.to_owned());
        on_disk(move || cache.get(&registry, &reference)).await
    }

    /// A cache that cannot be written to costs another fetch, and nothing else.
    async fn keep(&self, registry: &str, reference: &str, found: &Found) {
        let Some(cache) = self.cache.clone() else {
            return;
        };
        let (registry, reference) = (registry.to_owned(), reference.to_owned());
        let found = found.clone();
        let _ = on_disk(move || cache.put(&registry, &reference, &found)).await;
    }

    fn tell(&self, reference: &str) {
        if let Some(notice) = &self.notice {
            notice(reference);
        }
    }
}

/// File work, away from the threads that serve.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| format!("reading orbs from the disk failed: {error}"))
}

impl Orbs for OrbSources {
    fn find<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Orb> {
        Box::pin(async move {
            let asked = reference.parse();
            if let Ok(Reference::Url(url)) = &asked
                && let Err(why) = self.urls.check(url)
            {
                return Orb::Refused(why);
            }
            let answer = match asked {
                Ok(asked) => self.answer(reference, asked).await,
                Err(why) => Err(why),
            };
            match answer {
                Ok(Some(found)) => found.into(),
                Ok(None) => Orb::NotFound,
                Err(why) => Orb::Unavailable(why),
            }
        })
    }
}

/// Nowhere: for a server that compiles nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoOrbs;

impl Orbs for NoOrbs {
    fn find<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Orb> {
        let why = String::from("no source of orbs is set up here");
        Box::pin(async move { Orb::Unavailable(why) })
    }
}

/// Asks for each reference once, so that compiling again sees the same texts. For one run, not for a
/// server that lives on: an answer stays.
pub struct Once<O> {
    orbs: O,
    known: Mutex<HashMap<String, Orb>>,
}

impl<O: Orbs> Once<O> {
    /// Remembers what `orbs` answers.
    pub fn new(orbs: O) -> Self {
        Self {
            orbs,
            known: Mutex::default(),
        }
    }

    /// What a reference that was asked for resolved to.
    pub fn exact(&self, reference: &str) -> Option<String> {
        match lock(&self.known).get(reference) {
            Some(Orb::Found { exact, .. }) => Some(exact.clone()),
            Some(Orb::NotFound | Orb::Refused(_) | Orb::Unavailable(_)) | None => None,
        }
    }

    /// Whose answers these are.
    pub fn inner(&self) -> &O {
        &self.orbs
    }
}

impl<O: Orbs> Orbs for Once<O> {
    fn find<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Orb> {
        Box::pin(async move {
            let known = lock(&self.known).get(reference).cloned();
            if let Some(known) = known {
                return known;
            }
            let found = self.orbs.find(reference).await;
            let mut known = lock(&self.known);
            // The first answer stays, so that two that asked at once agree.
            known.entry(reference.to_owned()).or_insert(found).clone()
        })
    }
}
