//! Orbs by address: only below prefixes that somebody allowed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::{Found, MAX_TEXT};
use crate::net::{Ask, Net, NetError, Reach, without_secrets};

/// What the cache files these orbs under, where others have their registry.
pub(super) const REGISTRY: &str = "url";
/// How long a fetched one is used without asking again.
pub(super) const FRESH: Duration = Duration::from_secs(5 * 60);
/// How many prefixes there may be.
pub const MAX_PREFIXES: usize = 5;

/// Which addresses an orb may be fetched from.
#[derive(Clone, Debug, Default)]
pub struct UrlOrbs {
    allow: Vec<Prefix>,
    private_hosts: Vec<String>,
}

/// The beginning of addresses: `https://host/path/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(Url);

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("{text:?} is no address: {error}"))?;
        if url.scheme() != "https" {
            return Err(format!("{text:?} has to begin with https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(String::from(
                "a prefix of orb addresses holds no user name or password",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(format!("{text:?} holds a ? or #; a prefix is a path"));
        }
        // Else `https://host/orbs` would allow `https://host/orbs-of-somebody-else/`.
        if !text.ends_with('/') || !url.path().ends_with('/') {
            return Err(format!("{text:?} has to end with /"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Prefix {
    fn admits(&self, url: &Url) -> bool {
        self.0.origin() == url.origin() && url.path().starts_with(self.0.path())
    }
}

impl UrlOrbs {
    /// Allows addresses below these prefixes. Those of `private_hosts` may be at addresses that are not
    /// of the public internet.
    ///
    /// # Errors
    /// There are too many prefixes.
    pub fn new(allow: Vec<Prefix>, private_hosts: Vec<String>) -> Result<Self, String> {
        if allow.len() > MAX_PREFIXES {
            return Err(format!(
                "{} prefixes of orb addresses are allowed, {MAX_PREFIXES} at most",
                allow.len()
            ));
        }
        Ok(Self {
            allow,
            private_hosts,
        })
    }

    /// Whether an address is allowed.
    ///
    /// # Errors
    /// It is not; how to allow it.
    pub(super) fn check(&self, url: &Url) -> Result<(), String> {
        if url.scheme() != "https" {
            return Err(String::from("an orb's address has to begin with https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(String::from(
                "an orb's address holds no user name or password",
            ));
        }
        // A server may decode these and step out of the prefix.
        let path = url.path().to_ascii_lowercase();
        if ["%2e", "%2f", "%5c", "%00"]
            .iter()
            .any(|escape| path.contains(escape))
        {
            return Err(String::from(
                "an orb's address holds no escaped dots or slashes",
            ));
        }
        if self.allow.iter().any(|prefix| prefix.admits(url)) {
            return Ok(());
        }
        let mut prefix = url.clone();
        prefix.set_query(None);
        prefix.set_fragment(None);
        let folder = prefix
            .path()
            .rsplit_once('/')
            .map_or("/", |(folder, _)| folder)
            .to_owned();
        prefix.set_path(&format!("{folder}/"));
        Err(format!(
            "addresses below {prefix} are not allowed; if you trust them: --orb-allow {prefix}"
        ))
    }

    /// Fetches one that was checked. Redirects are not followed: where they lead was not allowed.
    pub(super) async fn fetch(&self, net: &Net, text: &str, url: &Url) -> Result<Found, String> {
        let host = url.host_str().unwrap_or_default();
        let reach = match self.private_hosts.iter().any(|known| known == host) {
            true => Reach::Anywhere,
            false => Reach::Public,
        };
        let shown = without_secrets(url);
        let ask = Ask {
            url,
            reach,
            authorization: None,
            json: None,
        };
        let reply = net.ask(&ask).await.map_err(|error| match error {
            NetError::Private { ref host, .. } => {
                format!("{error}; if that is meant: --orb-private-host {host}")
            }
            other => other.to_string(),
        })?;
        if reply.status.is_redirection() {
            return Err(format!(
                "{shown} answers {} and redirects, which is not followed; write the address it leads to",
                reply.status
            ));
        }
        if !reply.status.is_success() {
            return Err(format!("{shown} answers {}", reply.status));
        }
        if reply.body.len() > MAX_TEXT {
            return Err(format!("{shown} is larger than {} MiB", MAX_TEXT >> 20));
        }
        let body = String::from_utf8(reply.body.into()).map_err(|error| {
            format!(
                "{shown} is not UTF-8 text: bad byte at offset {}",
                error.utf8_error().valid_up_to()
            )
        })?;
        Ok(Found {
            exact: text.to_owned(),
            text: body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(prefixes: &[&str], url: &str) -> Result<(), String> {
        let prefixes = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        UrlOrbs::new(prefixes, Vec::new())?.check(&url.parse().unwrap())
    }

    #[test]
    fn a_prefix_admits_what_lies_below_it_and_nothing_else() {
        let list = ["https://orbs.example/team/", "https://raw.example:8443/"];
        for url in [
            "https://orbs.example/team/a.yml",
            "https://orbs.example:443/team/deep/er/a.yml",
            "https://ORBS.example/team/a.yml",
            "https://raw.example:8443/x.yml",
        ] {
            assert_eq!(allowed(&list, url), Ok(()), "{url}");
        }
        for url in [
            "https://orbs.example/teams/a.yml",
            "https://orbs.example/team",
            "https://orbs.example/team/../other/a.yml",
            "https://orbs.example/team/%2e%2e/other/a.yml",
            "https://orbs.example/team/..%2fother/a.yml",
            "https://orbs.example.evil/team/a.yml",
            "https://orbs.example@evil/team/a.yml",
            "https://evil/https://orbs.example/team/a.yml",
            "https://orbs.example:8443/team/a.yml",
            "https://raw.example/x.yml",
            "http://orbs.example/team/a.yml",
        ] {
            assert!(allowed(&list, url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_refusal_says_what_would_allow_it() {
        let said = allowed(&[], "https://orbs.example/team/a.yml?token=x").unwrap_err();
        assert_eq!(
            said,
            "addresses below https://orbs.example/team/ are not allowed; if you trust them: \
             --orb-allow https://orbs.example/team/"
        );
    }

    #[test]
    fn prefixes_are_checked() {
        for text in [
            "https://orbs.example",
            "https://orbs.example/team",
            "http://orbs.example/",
            "https://a:b@orbs.example/",
            "https://orbs.example/?a=/",
            "orbs.example/",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
        let many = vec!["https://orbs.example/".parse().unwrap(); 6];
        let said = UrlOrbs::new(many, Vec::new()).unwrap_err();
        assert!(said.contains("5 at most"), "{said}");
    }
}
