//! Proxies, as the environment names them.

use std::fmt;

use base64::Engine as _;
use capstan_model::Secret;
use url::Url;

use super::NetError;

/// Which hosts are reached through a proxy.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    proxy: Option<Result<Proxy, String>>,
    except: Vec<String>,
}

/// A proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) authorization: Option<Secret<String>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Proxy {
    pub(super) fn shown(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Proxies {
    /// Reads variables: `HTTPS_PROXY`, else `ALL_PROXY`, and `NO_PROXY`, each in lower case first. Only
    /// connections that are secured go through a proxy.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            variable(&name.to_ascii_lowercase())
                .filter(|value| !value.is_empty())
                .or_else(|| variable(name).filter(|value| !value.is_empty()))
        };
        let proxy = either("HTTPS_PROXY").or_else(|| either("ALL_PROXY"));
        let except = either("NO_PROXY").unwrap_or_default();
        Self {
            proxy: proxy.map(|text| parse(&text)),
            except: except
                .split(',')
                .map(|name| name.trim().to_ascii_lowercase())
                .filter(|name| !name.is_empty())
                .collect(),
        }
    }

    /// The proxy for a host, if it has one.
    pub(super) fn of(&self, host: &str) -> Result<Option<&Proxy>, NetError> {
        let host = host.to_ascii_lowercase();
        let excepted = self.except.iter().any(|name| {
            let name = name.strip_prefix("*.").unwrap_or(name);
            let name = name.strip_prefix('.').unwrap_or(name);
            name == "*"
                || host == name
                || host
                    .strip_suffix(name)
                    .is_some_and(|front| front.ends_with('.'))
        });
        match &self.proxy {
            Some(_) if excepted => Ok(None),
            None => Ok(None),
            Some(Ok(proxy)) => Ok(Some(proxy)),
            Some(Err(why)) => Err(NetError::Proxy {
                proxy: String::from("named by HTTPS_PROXY or ALL_PROXY"),
                cause: why.clone(),
            }),
        }
    }
}

fn parse(text: &str) -> Result<Proxy, String> {
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    // The text may hold a password, so no message repeats it.
    let url = Url::parse(&whole).map_err(|error| format!("is no address: {error}"))?;
    if url.scheme() != "http" {
        return Err(format!(
            "is a {} proxy; only http:// proxies are understood",
            url.scheme()
        ));
    }
    let host = url.host_str().ok_or("names no host")?.to_owned();
    let decoded = |text: &str| percent_decoded(text);
    let authorization = (!url.username().is_empty()).then(|| {
        let pair = format!(
            "{}:{}",
            decoded(url.username()),
            decoded(url.password().unwrap_or_default())
        );
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        Secret::new(format!("Basic {encoded}"))
    });
    Ok(Proxy {
        host,
        port: url.port_or_known_default().unwrap_or(80),
        authorization,
    })
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let digits = (byte == b'%')
            .then(|| Some((digit(ahead.next()?)?, digit(ahead.next()?)?)))
            .flatten();
        match digits {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = ahead;
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let variables: Vec<(String, String)> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Proxies::from_variables(|name| {
            variables
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        })
    }

    #[test]
    fn a_proxy_is_used_for_all_but_the_excepted() {
        let found = proxies(&[
            ("HTTPS_PROXY", "http://ann:p%40ss@proxy.corp:3128"),
            ("NO_PROXY", "localhost, .corp.example,*.inner.net"),
        ]);
        let proxy = found.of("circleci.com").unwrap().unwrap();
        assert_eq!(proxy.shown(), "proxy.corp:3128");
        assert_eq!(
            proxy.authorization.as_ref().unwrap().expose(),
            "Basic YW5uOnBAc3M="
        );
        assert!(!format!("{found:?}").contains("YW5u"));
        for host in [
            "localhost",
            "git.corp.example",
            "CORP.example",
            "a.inner.net",
        ] {
            assert!(found.of(host).unwrap().is_none(), "{host}");
        }
        assert!(found.of("notcorp.example").unwrap().is_some());
        let all = proxies(&[("all_proxy", "proxy:1"), ("no_proxy", "*")]);
        assert!(all.of("circleci.com").unwrap().is_none());
        assert!(proxies(&[]).of("circleci.com").unwrap().is_none());
    }

    #[test]
    fn a_proxy_of_another_kind_is_named_and_its_password_is_not() {
        let found = proxies(&[("https_proxy", "socks5://ann:hush@proxy:1080")]);
        let said = found.of("circleci.com").unwrap_err().to_string();
        assert!(said.contains("socks5"), "{said}");
        assert!(!said.contains("hush"), "{said}");
    }
}
