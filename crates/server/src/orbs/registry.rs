//! A registry of orbs, asked by GraphQL: CircleCI's public one, or any server that answers the same
//! queries at `<base>/graphql-unstable`.

use capstan_model::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use url::Url;

use super::reference::{Release, Version};
use super::{Found, MAX_TEXT};
use crate::net::{Ask, Net, NetError, Reach, Reply, is_local};

/// Where CircleCI's public registry is.
pub const PUBLIC: &str = "https://circleci.com";

/// How many orbs one page of a list holds.
const PAGE: u32 = 50;
/// How many pages are turned at most.
const MAX_PAGES: u32 = 200;
/// How many versions of an orb are asked for.
const VERSIONS: u32 = 200;
/// How much of a registry's own words a message repeats.
const MAX_SAID: usize = 300;

const SOURCE: &str = "query($orbVersionRef: String!) { \
     orbVersion(orbVersionRef: $orbVersionRef) { id version source } }";

const INFO: &str = "query($orbVersionRef: String!, $count: Int!) { \
     orbVersion(orbVersionRef: $orbVersionRef) { id version createdAt \
     orb { id name createdAt isPrivate categories { name } \
     statistics { last30DaysBuildCount last30DaysProjectCount last30DaysOrganizationCount } \
     versions(count: $count) { version createdAt } } } }";

const LIST: &str = "query($namespace: String, $after: String!, $first: Int!) { \
     registryNamespace(name: $namespace) { id name \
     orbs(first: $first, after: $after) { \
     edges { cursor node { name versions(count: 1) { version } } } \
     pageInfo { hasNextPage } } } }";

const LIST_CERTIFIED: &str = "query($after: String!, $first: Int!) { \
     orbs(first: $first, after: $after, certifiedOnly: true) { \
     edges { cursor node { name versions(count: 1) { version } } } \
     pageInfo { hasNextPage } } }";

/// A registry.
#[derive(Clone, Debug)]
pub struct Registry {
    /// Its base, as messages and the cache name it.
    id: String,
    graphql: Url,
    token: Option<Secret<String>>,
}

/// What a registry tells of an orb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// `namespace/name`.
    pub name: String,
    /// The version that was meant.
    pub version: String,
    /// When that was published.
    pub published_at: String,
    /// When the orb was made.
    pub created_at: String,
    /// Whether only its owners see it.
    pub private: bool,
    /// What it is filed under.
    pub categories: Vec<String>,
    /// Builds, projects and organizations of the last 30 days, where the registry counts them.
    pub used: Option<(u64, u64, u64)>,
    /// Published versions, newest first: version, and when.
    pub versions: Vec<(String, String)>,
}

/// An orb of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `namespace/name`.
    pub name: String,
    /// Its highest version; `None` when it has none that is published.
    pub latest: Option<String>,
}

impl Registry {
    /// A registry below a base address, `https://host[/path]`; plain `http://` for this machine only.
    ///
    /// # Errors
    /// The base is no such address.
    pub fn new(base: &str, token: Option<Secret<String>>) -> Result<Self, String> {
        let base = base.trim_end_matches('/');
        let graphql = Url::parse(&format!("{base}/graphql-unstable"))
            .map_err(|error| format!("{base:?} is no address: {error}"))?;
        if !graphql.username().is_empty() || graphql.password().is_some() {
            return Err(String::from(
                "the address of a registry holds no user name or password; its token is set by CAPSTAN_ORB_TOKEN",
            ));
        }
        if !matches!(graphql.scheme(), "https" | "http") {
            return Err(format!("{base:?} has to begin with https://"));
        }
        if graphql.scheme() == "http" && !is_local(&graphql) {
            return Err(format!(
                "{base:?} has to begin with https://; http:// is for this machine only"
            ));
        }
        if graphql.query().is_some() || graphql.fragment().is_some() {
            return Err(format!("{base:?} holds a ? or #"));
        }
        Ok(Self {
            id: base.to_owned(),
            graphql,
            token,
        })
    }

    /// Its base address.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The orb of a reference; `None` when the registry says it has none.
    ///
    /// # Errors
    /// It could not be asked, or answers what cannot be.
    pub async fn orb(
        &self,
        net: &Net,
        reference: &str,
        version: &Version,
    ) -> Result<Option<Found>, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Data {
            #[serde(deserialize_with = "answered")]
            orb_version: Option<Published>,
        }
        #[derive(Deserialize)]
        struct Published {
            version: String,
            source: Option<String>,
        }
        let variables = json!({ "orbVersionRef": reference });
        let data: Data = self.query(net, SOURCE, variables).await?;
        let Some(published) = data.orb_version else {
            return Ok(None);
        };
        let Some(text) = published.source else {
            return Err(self.odd(&format!("gives no source for {reference}")));
        };
        if text.len() > MAX_TEXT {
            return Err(self.odd(&format!("has an orb of more than {} MiB", MAX_TEXT >> 20)));
        }
        let release: Option<Release> = published.version.parse().ok();
        let meant = match (version, release) {
            (Version::Dev(_), _) => published.version == version.to_string(),
            (_, Some(release)) => version.admits(release),
            (_, None) => false,
        };
        if !meant {
            return Err(self.odd(&format!(
                "answers {reference} with version {}",
                shown(&published.version)
            )));
        }
        let orb = reference.split_once('@').map_or(reference, |(orb, _)| orb);
        Ok(Some(Found {
            exact: format!("{orb}@{}", published.version),
            text,
        }))
    }

    /// What it tells of an orb; `None` when it has none.
    ///
    /// # Errors
    /// It could not be asked, or answers what cannot be.
    pub async fn info(&self, net: &Net, reference: &str) -> Result<Option<Info>, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Data {
            #[serde(deserialize_with = "answered")]
            orb_version: Option<OrbVersion>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct OrbVersion {
            version: String,
            created_at: Option<String>,
            orb: Orb,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Orb {
            name: String,
            created_at: Option<String>,
            is_private: Option<bool>,
            categories: Option<Vec<Named>>,
            statistics: Option<Statistics>,
            versions: Vec<Dated>,
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Statistics {
            last30_days_build_count: u64,
            last30_days_project_count: u64,
            last30_days_organization_count: u64,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Dated {
            version: String,
            created_at: Option<String>,
        }
        let variables = json!({ "orbVersionRef": reference, "count": VERSIONS });
        let data: Data = self.query(net, INFO, variables).await?;
        Ok(data.orb_version.map(|found| Info {
            name: found.orb.name,
            version: found.version,
            published_at: found.created_at.unwrap_or_default(),
            created_at: found.orb.created_at.unwrap_or_default(),
            private: found.orb.is_private.unwrap_or(false),
            categories: found
                .orb
                .categories
                .unwrap_or_default()
                .into_iter()
                .map(|category| category.name)
                .collect(),
            used: found.orb.statistics.map(|used| {
                (
                    used.last30_days_build_count,
                    used.last30_days_project_count,
                    used.last30_days_organization_count,
                )
            }),
            versions: found
                .orb
                .versions
                .into_iter()
                .map(|dated| (dated.version, dated.created_at.unwrap_or_default()))
                .collect(),
        }))
    }

    /// The orbs of a namespace, or the certified ones of all; `None` when there is no such namespace.
    ///
    /// # Errors
    /// It could not be asked, or answers what cannot be.
    pub async fn list(
        &self,
        net: &Net,
        namespace: Option<&str>,
    ) -> Result<Option<Vec<Listed>>, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Data {
            registry_namespace: Option<Namespace>,
            orbs: Option<Connection>,
        }
        #[derive(Deserialize)]
        struct Namespace {
            orbs: Connection,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Connection {
            edges: Vec<Edge>,
            page_info: PageInfo,
        }
        #[derive(Deserialize)]
        struct Edge {
            cursor: String,
            node: Node,
        }
        #[derive(Deserialize)]
        struct Node {
            name: String,
            versions: Vec<Numbered>,
        }
        #[derive(Deserialize)]
        struct Numbered {
            version: String,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct PageInfo {
            has_next_page: bool,
        }
        let mut listed = Vec::new();
        let mut after = String::new();
        for _ in 0..MAX_PAGES {
            let (query, variables) = match namespace {
                Some(namespace) => (
                    LIST,
                    json!({ "namespace": namespace, "after": after, "first": PAGE }),
                ),
                None => (LIST_CERTIFIED, json!({ "after": after, "first": PAGE })),
            };
            let data: Data = self.query(net, query, variables).await?;
            let page = match namespace {
                Some(_) => data.registry_namespace.map(|namespace| namespace.orbs),
                None => data.orbs,
            };
            let Some(page) = page else { return Ok(None) };
            let last = page.edges.last().map(|edge| edge.cursor.clone());
            listed.extend(page.edges.into_iter().map(|edge| {
                Listed {
                    name: edge.node.name,
                    latest: edge
                        .node
                        .versions
                        .into_iter()
                        .next()
                        .map(|first| first.version),
                }
            }));
            match last {
                Some(cursor) if page.page_info.has_next_page && cursor != after => after = cursor,
                _ => return Ok(Some(listed)),
            }
        }
        Err(self.odd("gives a list without end"))
    }

    async fn query<T: DeserializeOwned>(
        &self,
        net: &Net,
        query: &str,
        variables: serde_json::Value,
    ) -> Result<T, String> {
        let body = json!({ "query": query, "variables": variables });
        let ask = Ask {
            url: &self.graphql,
            reach: Reach::Anywhere,
            authorization: self.token.as_ref().map(|token| token.expose().as_str()),
            json: Some(body.to_string().into_bytes()),
        };
        let reply = net
            .ask(&ask)
            .await
            .map_err(|error| self.unreached(&error))?;
        self.read(&reply)
    }

    fn read<T: DeserializeOwned>(&self, reply: &Reply) -> Result<T, String> {
        #[derive(Deserialize)]
        struct Envelope<T> {
            data: Option<T>,
            errors: Option<Vec<Said>>,
        }
        #[derive(Deserialize)]
        struct Said {
            message: String,
        }
        let status = reply.status;
        if status.is_redirection() {
            let to = reply.location.as_deref().unwrap_or("another address");
            return Err(self.failed(
                &format!("answers {status} and redirects to {}", shown(to)),
                "name the address it leads to",
            ));
        }
        if status == 401 || status == 403 {
            return Err(self.failed(
                &format!("answers {status}"),
                "it wants a token that may read the orb: CAPSTAN_ORB_TOKEN, or CIRCLECI_CLI_TOKEN for \
                 CircleCI's",
            ));
        }
        if let Some(wait) = reply.retry_after.filter(|_| !status.is_success()) {
            return Err(self.failed(
                &format!("answers {status} and asks to wait {} s", wait.as_secs()),
                "try again then",
            ));
        }
        if status.is_server_error() {
            return Err(self.failed(
                &format!("answers {status} again and again"),
                "try again later; --offline takes what is in the cache",
            ));
        }
        if !status.is_success() {
            return Err(self.failed(
                &format!("answers {status}"),
                "is that the address of a registry?",
            ));
        }
        let envelope: Envelope<T> = serde_json::from_slice(&reply.body)
            .map_err(|error| self.odd(&format!("answers what is not its JSON: {error}")))?;
        let said = envelope.errors.unwrap_or_default();
        if !said.is_empty() {
            let said: Vec<String> = said
                .iter()
                .take(3)
                .map(|said| shown(&said.message))
                .collect();
            return Err(self.failed(
                &format!("says: {}", said.join("; ")),
                "is the reference right?",
            ));
        }
        envelope
            .data
            .ok_or_else(|| self.odd("answers without data"))
    }

    fn unreached(&self, error: &NetError) -> String {
        let mend = match error {
            NetError::Resolve { .. } | NetError::Connect { .. } | NetError::Timeout { .. } => {
                "is the network there? --offline takes what is in the cache, --orb-dir names a folder \
                 with the orb"
            }
            NetError::Tls { .. } => {
                "CAPSTAN_CA_FILE names a PEM file with further certificates to trust"
            }
            NetError::Proxy { .. } => "HTTPS_PROXY and NO_PROXY say which proxy is used",
            NetError::Address { .. } => "--orb-registry takes https://HOST",
            NetError::Private { .. } | NetError::TooLarge { .. } | NetError::Broken { .. } => {
                "is that the address of a registry?"
            }
        };
        self.failed(&format!("cannot be asked: {error}"), mend)
    }

    /// An answer that no registry should give.
    fn odd(&self, what: &str) -> String {
        self.failed(what, "is that the address of a registry?")
    }

    fn failed(&self, what: &str, mend: &str) -> String {
        format!("the orb registry {} {what}; {mend}", self.id)
    }
}

/// A null that has to be there: what is left out was not answered.
fn answered<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}

/// Words of somebody else, short and without anything a terminal would obey.
fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_SAID)
        .collect();
    if text.chars().nth(MAX_SAID).is_some() {
        shown.push('…');
    }
    shown
}
