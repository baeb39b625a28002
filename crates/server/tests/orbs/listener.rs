//! A server on this machine that answers as a test tells it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

/// A request as it came.
pub struct Request {
    pub method: String,
    pub path: String,
    pub body: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What is done about it.
#[derive(Clone)]
pub enum Reply {
    /// These bytes are sent, and the connection is closed.
    Bytes(Vec<u8>),
    /// Nothing is sent, for longer than anybody waits.
    Hang,
}

impl Reply {
    pub fn json(body: &Value) -> Self {
        Self::text(200, &body.to_string())
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self::bytes(status, body.as_bytes())
    }

    pub fn bytes(status: u16, body: &[u8]) -> Self {
        let head = format!(
            "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Self::Bytes([head.as_bytes(), body].concat())
    }

    pub fn raw(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }

    pub fn with(self, header: &str, value: &str) -> Self {
        let Self::Bytes(bytes) = self else {
            return self;
        };
        let text = String::from_utf8(bytes).unwrap();
        Self::Bytes(
            text.replacen("\r\n", &format!("\r\n{header}: {value}\r\n"), 1)
                .into_bytes(),
        )
    }
}

type Answer = dyn Fn(usize, &Request) -> Reply + Send + Sync;

/// The server; it ends when dropped.
pub struct Listener {
    port: u16,
    count: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Listener {
    /// Answers each connection, counted from 0, over plain HTTP.
    pub async fn start(answer: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(None, Arc::new(answer)).await
    }

    /// The same over TLS, as `localhost`.
    pub async fn start_tls(
        certificates: PathBuf,
        answer: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let chain = CertificateDer::pem_file_iter(certificates.join("server.pem"))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let key = PrivateKeyDer::from_pem_file(certificates.join("server.key")).unwrap();
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::serve(Some(acceptor), Arc::new(answer)).await
    }

    async fn serve(tls: Option<TlsAcceptor>, answer: Arc<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let count = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&count);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let (tls, answer) = (tls.clone(), Arc::clone(&answer));
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, number, &*answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, number, &*answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            port,
            count,
            serving,
        }
    }

    pub fn http(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn https(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// How many connections there were.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

/// A proxy that leads every connection to one server, whatever name it is asked for.
pub async fn tunnel_to(listener: &Listener) -> String {
    let target = listener.port;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = proxy.accept().await {
            tokio::spawn(async move {
                let request = receive(&mut stream).await.unwrap();
                assert_eq!(request.method, "CONNECT");
                let mut server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 Go\r\n\r\n").await.unwrap();
                // Either side may end it.
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    address
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, number: usize, answer: &Answer) {
    let Some(request) = receive(&mut stream).await else {
        return;
    };
    match answer(number, &request) {
        Reply::Hang => std::future::pending().await,
        Reply::Bytes(bytes) => {
            // A client that has read enough goes away.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
    }
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut lines = head.lines();
            let mut first = lines.next()?.split(' ');
            let headers: Vec<(String, String)> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let request = Request {
                method: first.next()?.to_owned(),
                path: first.next()?.to_owned(),
                body: body.to_owned(),
                headers,
            };
            let length = request
                .header("content-length")
                .map_or(0, |value| value.parse().unwrap());
            if body.len() >= length {
                return Some(request);
            }
        }
        match stream.read(&mut part).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&part[..read]),
            _ => return None,
        }
    }
}
