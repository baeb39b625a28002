//! The one way out: a client for addresses that a config, a setting or a person names.
//!
//! It opens a connection for each request, follows no redirect, takes no more bytes and no more time than
//! it was told, and connects only to addresses it has looked at: what a name resolves to is checked and
//! then used, with no second look-up between the two. Names are resolved by its own resolver, because a
//! static binary must not load the name service modules of the machine.

mod address;
mod proxy;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hickory_resolver::TokioResolver;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::{Host, Url};

pub use proxy::Proxies;

use proxy::Proxy;

/// How many addresses of one name are tried.
const MAX_ADDRESSES: usize = 8;
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
    tls: TlsConnector,
    resolver: OnceCell<TokioResolver>,
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
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(path) = &settings.extra_roots {
            let unusable = |cause: &dyn std::fmt::Display| {
                format!("cannot take certificates from {}: {cause}", path.display())
            };
            let mut count = 0;
            for certificate in
                CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?
            {
                let certificate = certificate.map_err(|error| unusable(&error))?;
                roots.add(certificate).map_err(|error| unusable(&error))?;
                count += 1;
            }
            if count == 0 {
                return Err(unusable(&"it holds none; it has to be a PEM file"));
            }
        }
        let provider = Arc::new(crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("cannot set up TLS: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            inner: Arc::new(Inner {
                limits: settings.limits,
                proxies: settings.proxies,
                tls: TlsConnector::from(Arc::new(tls)),
                resolver: OnceCell::new(),
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

    async fn connect(&self, ask: &Ask<'_>, host: &str) -> Result<Box<dyn Stream>, NetError> {
        let url = ask.url;
        let address = |why| NetError::Address {
            url: without_secrets(url),
            why,
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(address("it holds a user name or password"));
        }
        let (Some(target), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(address("it names no host"));
        };
        let local = is_loopback(&target);
        match url.scheme() {
            "https" => {}
            "http" if local => {
                return Ok(Box::new(self.direct(ask.reach, &target, port, host).await?));
            }
            "http" => return Err(address("http:// is for this machine only; use https://")),
            _ => return Err(address("only https:// is understood")),
        }
        let proxy = if local {
            None
        } else {
            self.inner.proxies.of(host)?
        };
        let stream: Box<dyn Stream> = match proxy {
            Some(proxy) => {
                // The proxy looks up names, and is where the operator says what may be reached; an
                // address that is written out is refused here all the same.
                if let (Reach::Public, Some(literal)) = (ask.reach, literal(&target)) {
                    check(host, literal)?;
                }
                self.through(proxy, &target, port).await?
            }
            None => Box::new(self.direct(ask.reach, &target, port, host).await?),
        };
        let name = match &target {
            Host::Domain(name) => ServerName::try_from((*name).to_owned())
                .map_err(|_| address("its host is no valid name"))?,
            Host::Ipv4(ip) => ServerName::from(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => ServerName::from(IpAddr::V6(*ip)),
        };
        let secured = self.inner.tls.connect(name, stream).await;
        secured
            .map(|stream| Box::new(stream) as Box<dyn Stream>)
            .map_err(|cause| NetError::Tls {
                host: host.to_owned(),
                cause: cause.to_string(),
            })
    }

    /// Connects to the first address that answers, of those that the request may go to.
    async fn direct(
        &self,
        reach: Reach,
        target: &Host<&str>,
        port: u16,
        host: &str,
    ) -> Result<TcpStream, NetError> {
        let mut last = None;
        for ip in self.addresses(target, host).await? {
            if reach == Reach::Public
                && let Err(error) = check(host, ip)
            {
                last = Some(error);
                continue;
            }
            match self.tcp(SocketAddr::new(ip, port)).await {
                Ok(stream) => return Ok(stream),
                Err(cause) => {
                    last = Some(NetError::Connect {
                        host: host.to_owned(),
                        cause,
                    });
                }
            }
        }
        Err(last.unwrap_or_else(|| NetError::Resolve {
            host: host.to_owned(),
            cause: String::from("it has no address"),
        }))
    }

    async fn tcp(&self, address: SocketAddr) -> Result<TcpStream, String> {
        let limit = self.inner.limits.connect;
        match tokio::time::timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without it the stream is slower, not wrong.
                let _ = stream.set_nodelay(true);
                Ok(stream)
            }
            Ok(Err(error)) => Err(format!("{address}: {error}")),
            Err(_) => Err(format!(
                "{address}: no answer within {} s",
                limit.as_secs_f32()
            )),
        }
    }

    async fn addresses(&self, target: &Host<&str>, host: &str) -> Result<Vec<IpAddr>, NetError> {
        if let Some(ip) = literal(target) {
            return Ok(vec![ip]);
        }
        if is_loopback(target) {
            return Ok(vec![
                IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
                IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            ]);
        }
        let failed = |cause: String| NetError::Resolve {
            host: host.to_owned(),
            cause,
        };
        let resolver = self.inner.resolver.get_or_try_init(async || {
            TokioResolver::builder_tokio()
                .and_then(|builder| builder.build())
                .map_err(|error| failed(error.to_string()))
        });
        // The dot keeps the search domains of the machine out of it.
        let name = format!("{}.", host.trim_end_matches('.'));
        let limit = self.inner.limits.connect;
        let found = tokio::time::timeout(limit, resolver.await?.lookup_ip(name))
            .await
            .map_err(|_| {
                let seconds = limit.as_secs_f32();
                failed(format!("no name server answered within {seconds} s"))
            })?
            .map_err(|error| {
                failed(match error.is_no_records_found() || error.is_nx_domain() {
                    true => String::from("no name server knows it"),
                    false => error.to_string(),
                })
            })?;
        let mut addresses: Vec<IpAddr> = found.iter().collect();
        // Machines without IPv6 are commoner than servers without IPv4.
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses.truncate(MAX_ADDRESSES);
        Ok(addresses)
    }

    /// A tunnel through a proxy.
    async fn through(
        &self,
        proxy: &Proxy,
        target: &Host<&str>,
        port: u16,
    ) -> Result<Box<dyn Stream>, NetError> {
        let failed = |cause: String| NetError::Proxy {
            proxy: proxy.shown(),
            cause,
        };
        let proxy_host = Host::parse(&proxy.host).map_err(|error| failed(error.to_string()))?;
        let proxy_host = match &proxy_host {
            Host::Domain(name) => Host::Domain(name.as_str()),
            Host::Ipv4(ip) => Host::Ipv4(*ip),
            Host::Ipv6(ip) => Host::Ipv6(*ip),
        };
        let stream = self
            .direct(Reach::Anywhere, &proxy_host, proxy.port, &proxy.host)
            .await
            .map_err(|error| failed(format!("cannot be reached: {error}")))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(format!("speaks no HTTP: {}", chain(&error))))?;
        tokio::spawn(async move {
            // It ends when the tunnel is dropped.
            let _ = connection.with_upgrades().await;
        });
        let authority = format!("{target}:{port}");
        let mut request = Request::builder()
            .method(Method::CONNECT)
            .uri(&authority)
            .header(header::HOST, &authority);
        if let Some(authorization) = &proxy.authorization {
            request = request.header(header::PROXY_AUTHORIZATION, authorization.expose());
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|error| failed(error.to_string()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failed(format!("broke off: {}", chain(&error))))?;
        if !response.status().is_success() {
            return Err(failed(format!(
                "answers {} to a connection to {authority}",
                response.status()
            )));
        }
        let tunnel = hyper::upgrade::on(response)
            .await
            .map_err(|error| failed(format!("opens no tunnel: {}", chain(&error))))?;
        Ok(Box::new(TokioIo::new(tunnel)))
    }
}

/// A connection, of whatever it is made.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

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

fn check(host: &str, ip: IpAddr) -> Result<(), NetError> {
    if address::is_public(ip) {
        return Ok(());
    }
    Err(NetError::Private {
        host: host.to_owned(),
        address: ip,
    })
}

fn literal(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(*ip)),
    }
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
