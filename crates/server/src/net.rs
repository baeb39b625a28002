//! The one way out: a client for addresses that a config, a setting or a person names.
//!
//! It keeps nothing open: a connection is made for each request. It follows no redirect, takes no more
//! bytes and no more time than it was told, and connects only to addresses it has looked at: what a name
//! resolves to is checked and then used, with no second look-up between the two. Names are resolved by its
//! own resolver, because a static binary must not load the name service modules of the machine.

mod address;
mod connect;
mod proxy;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::{Host, Url};

pub use proxy::Proxies;

const USER_AGENT: &str = concat!("capstan/", env!("CARGO_PKG_VERSION"));

/// How much a request may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For one connection to stand.
    pub connect: Duration,
    /// For one attempt, from the look-up of the name to the last byte.
    pub attempt: Duration,
    /// How often a request is sent while the other side has a passing trouble.
    pub attempts: u32,
    /// The longest wait before the second attempt; it doubles with each further one.
    pub backoff: Duration,
    /// The longest wait at all. A server that asks for a longer one has failed.
    pub longest_wait: Duration,
    /// Bytes of a reply's body.
    pub reply: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            attempt: Duration::from_secs(30),
            attempts: 3,
            backoff: Duration::from_millis(500),
            longest_wait: Duration::from_secs(10),
            reply: 4 << 20,
        }
    }
}

/// What a client is made with.
#[derive(Clone, Debug, Default)]
pub struct NetSettings {
    /// How much a request may take.
    pub limits: Limits,
    /// A PEM file with certificates to trust beside the built-in ones.
    pub extra_roots: Option<std::path::PathBuf>,
    /// `HTTPS_PROXY` and its kin.
    pub proxies: Proxies,
}

/// The client. Clones share it.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Inner>,
}

struct Inner {
    limits: Limits,
    proxies: Proxies,
    /// Certificates to trust beside the built-in ones.
    extra: Vec<CertificateDer<'static>>,
    /// Made with the first secure connection: most commands open none, and it costs milliseconds.
    tls: OnceLock<Result<TlsConnector, String>>,
}

impl Inner {
    fn tls(&self) -> Result<&TlsConnector, String> {
        let made = self.tls.get_or_init(|| connector(&self.extra));
        made.as_ref().map_err(Clone::clone)
    }
}

fn connector(extra: &[CertificateDer<'static>]) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for certificate in extra {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("a certificate cannot be trusted: {error}"))?;
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(tls)))
}

/// Where a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Anywhere: the operator named the address.
    Anywhere,
    /// Only to addresses of the public internet: somebody else named it.
    Public,
}

/// A request.
#[derive(Debug)]
pub struct Ask<'a> {
    /// Where to.
    pub url: &'a Url,
    /// Which addresses it may go to.
    pub reach: Reach,
    /// The value of `Authorization`.
    pub authorization: Option<&'a str>,
    /// The JSON to post; without it, the request is a `GET`.
    pub json: Option<Vec<u8>>,
}

/// A reply.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// `Retry-After`, if it is there in seconds.
    pub retry_after: Option<Duration>,
    /// `Location`, of a redirect.
    pub location: Option<String>,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// Nothing this client opens.
    #[error("{url} cannot be opened: {why}")]
    Address {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The name leads nowhere.
    #[error("the name {host} cannot be resolved: {cause}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        cause: String,
    },
    /// It leads where the request may not go.
    #[error("{host} is at {address}, which is no address of the public internet")]
    Private {
        /// The name.
        host: String,
        /// Where it leads.
        address: IpAddr,
    },
    /// Nobody answers there.
    #[error("cannot connect to {host}: {cause}")]
    Connect {
        /// The name.
        host: String,
        /// What the system said.
        cause: String,
    },
    /// The other side is not who it should be, or speaks no TLS.
    #[error("no secure connection to {host}: {cause}")]
    Tls {
        /// The name.
        host: String,
        /// What is wrong.
        cause: String,
    },
    /// The proxy does not let through.
    #[error("the proxy {proxy} {cause}")]
    Proxy {
        /// Its address.
        proxy: String,
        /// What it did.
        cause: String,
    },
    /// It took too long.
    #[error("no answer from {host} within {} s", .limit.as_secs_f32())]
    Timeout {
        /// The name.
        host: String,
        /// How long was waited.
        limit: Duration,
    },
    /// It is too much.
    #[error("the reply of {host} is larger than {limit} bytes")]
    TooLarge {
        /// The name.
        host: String,
        /// How much would have been taken.
        limit: usize,
    },
    /// It broke off, or is no HTTP.
    #[error("the connection to {host} broke: {cause}")]
    Broken {
        /// The name.
        host: String,
        /// What is wrong.
        cause: String,
    },
}

impl NetError {
    /// Whether the same request may go through a moment later.
    fn passes(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. }
            | Self::Resolve { .. } => true,
            Self::Address { .. }
            | Self::Private { .. }
            | Self::Tls { .. }
            | Self::Proxy { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}

impl Net {
    /// Makes a client; nothing is opened or looked up yet.
    ///
    /// # Errors
    /// The extra certificates cannot be read.
    pub fn new(settings: NetSettings) -> Result<Self, String> {
        let mut extra = Vec::new();
        if let Some(path) = &settings.extra_roots {
            let unusable = |cause: &dyn std::fmt::Display| {
                format!("cannot take certificates from {}: {cause}", path.display())
            };
            // Read here, so that a mistake in it shows whether it is needed or not.
            let mut probe = RootCertStore::empty();
            for certificate in
                CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?
            {
                let certificate = certificate.map_err(|error| unusable(&error))?;
                probe
                    .add(certificate.clone())
                    .map_err(|error| unusable(&error))?;
                extra.push(certificate);
            }
            if extra.is_empty() {
                return Err(unusable(&"it holds none; it has to be a PEM file"));
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                limits: settings.limits,
                proxies: settings.proxies,
                extra,
                tls: OnceLock::new(),
            }),
        })
    }

    /// Sends a request that may be repeated, until there is an answer that waiting would not better.
    ///
    /// # Errors
    /// There is no reply. A reply that says of itself that it failed is one.
    pub async fn ask(&self, ask: &Ask<'_>) -> Result<Reply, NetError> {
        let limits = &self.inner.limits;
        let mut attempt = 1;
        loop {
            let result = self.once(ask).await;
            let asked_wait = match &result {
                Ok(reply) if !passes(reply.status) => return result,
                Ok(reply) => reply.retry_after,
                Err(error) if !error.passes() => return result,
                Err(_) => None,
            };
            let wait = asked_wait.unwrap_or_else(|| jitter(limits, attempt));
            if attempt >= limits.attempts || wait > limits.longest_wait {
                return result;
            }
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    async fn once(&self, ask: &Ask<'_>) -> Result<Reply, NetError> {
        let limit = self.inner.limits.attempt;
        let host = shown_host(ask.url);
        match tokio::time::timeout(limit, self.exchange(ask, &host)).await {
            Ok(result) => result,
            Err(_) => Err(NetError::Timeout { host, limit }),
        }
    }

    async fn exchange(&self, ask: &Ask<'_>, host: &str) -> Result<Reply, NetError> {
        let stream = self.connect(ask, host).await?;
        let broken = |cause: hyper::Error| NetError::Broken {
            host: host.to_owned(),
            cause: chain(&cause),
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let connection = Aborting(tokio::spawn(async move {
            // What ends it early shows as an error of the request.
            let _ = connection.await;
        }));
        let request = request(ask, host)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, mut body) = response.into_parts();
        let limit = self.inner.limits.reply;
        let too_large = || NetError::TooLarge {
            host: host.to_owned(),
            limit,
        };
        let mut taken = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            if taken.len().saturating_add(data.len()) > limit {
                return Err(too_large());
            }
            taken.extend_from_slice(&data);
        }
        drop(connection);
        let text = |name| {
            head.headers
                .get(name)
                .and_then(|value: &header::HeaderValue| value.to_str().ok())
        };
        Ok(Reply {
            status: head.status,
            retry_after: text(header::RETRY_AFTER)
                .and_then(|value| value.trim().parse().ok())
                .map(Duration::from_secs),
            location: text(header::LOCATION).map(str::to_owned),
            body: taken.freeze(),
        })
    }
}

/// A task that ends with its owner.
struct Aborting(tokio::task::JoinHandle<()>);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn request(ask: &Ask<'_>, host: &str) -> Result<Request<Full<Bytes>>, NetError> {
    let url = ask.url;
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    let mut request = Request::builder()
        .uri(path)
        .header(header::HOST, authority)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close");
    if let Some(authorization) = ask.authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let body = match &ask.json {
        None => Bytes::new(),
        Some(json) => {
            request = request
                .method(Method::POST)
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "application/json");
            Bytes::from(json.clone())
        }
    };
    request
        .body(Full::new(body))
        .map_err(|error| NetError::Broken {
            host: host.to_owned(),
            cause: format!("the request cannot be written: {error}"),
        })
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    }
}

/// Whether an address is one of this machine, told by its text alone.
pub fn is_local(url: &Url) -> bool {
    url.host().is_some_and(|host| is_loopback(&host))
}

fn shown_host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

/// An address as messages show it.
pub fn without_secrets(url: &Url) -> String {
    let mut shown = url.clone();
    // Both fail only for addresses that cannot hold them.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.to_string()
}

fn passes(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// Anything from nothing to the full wait, so that many clients do not come back together.
fn jitter(limits: &Limits, attempt: u32) -> Duration {
    let doubled = limits
        .backoff
        .saturating_mul(1u32.checked_shl(attempt - 1).unwrap_or(u32::MAX));
    let full = doubled.min(limits.longest_wait);
    let (_, random) = uuid::Uuid::new_v4().as_u64_pair();
    // The low bits of a version 4 id are random.
    let part = u16::try_from(random & 0xffff).unwrap_or(0);
    full.mul_f64(f64::from(part) / f64::from(u16::MAX))
}

/// An error with its causes: the outermost alone often says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
