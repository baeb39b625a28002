//! From an address to a stream that it may be spoken to over.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use hickory_resolver::TokioResolver;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use url::Host;

use super::proxy::Proxy;
use super::{Ask, Net, NetError, Reach, address, chain, is_loopback, without_secrets};

/// How many addresses of one name are tried.
const MAX_ADDRESSES: usize = 8;

impl Net {
    /// Connects to where a request goes, and proves who answers.
    pub(super) async fn connect(
        &self,
        ask: &Ask<'_>,
        host: &str,
    ) -> Result<Box<dyn Stream>, NetError> {
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
        let failed = |cause: String| NetError::Tls {
            host: host.to_owned(),
            cause,
        };
        let tls = self.inner.tls().map_err(failed)?;
        let secured = tls.connect(name, stream).await;
        secured
            .map(|stream| Box::new(stream) as Box<dyn Stream>)
            .map_err(|cause| failed(cause.to_string()))
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
        // A new one each time: it would not outlive the runtime it began in, as this client may.
        let resolver = TokioResolver::builder_tokio()
            .and_then(|builder| builder.build())
            .map_err(|error| failed(error.to_string()))?;
        // The dot keeps the search domains of the machine out of it.
        let name = format!("{}.", host.trim_end_matches('.'));
        let limit = self.inner.limits.connect;
        let found = tokio::time::timeout(limit, resolver.lookup_ip(name))
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
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

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
