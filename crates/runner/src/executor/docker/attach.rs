//! The byte stream to a process in a container. The engine hands over the connection that asked for it;
//! we read it ourselves, in large pieces, because a log of some hundred megabytes passes through here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bollard::Docker;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::engine::Engine;
use super::engine::Host;
use crate::executor::AgentStream;

/// What of the engine's refusal is read.
const REFUSAL_LIMIT: usize = 16 << 10;
/// Bytes that are read at once.
const BUFFER: usize = 256 << 10;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttachError {
    /// The engine said no.
    #[error("{message} (status {status})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// It cannot be talked to.
    #[error("{0}")]
    Broken(String),
}

/// Attaches to the input and output of a container that was not started yet.
pub(super) async fn container(engine: &Engine, id: &str) -> Result<AgentStream, AttachError> {
    let path = format!("containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1");
    open(engine, &path, Bytes::new()).await
}

/// Starts a command that was prepared in a running container, and attaches to it.
pub(super) async fn exec(engine: &Engine, id: &str) -> Result<AgentStream, AttachError> {
    let body = Bytes::from_static(br#"{"Detach":false,"Tty":false}"#);
    open(engine, &format!("exec/{id}/start"), body).await
}

async fn open(engine: &Engine, path: &str, body: Bytes) -> Result<AgentStream, AttachError> {
    let broken = |error: io::Error| AttachError::Broken(error.to_string());
    match &engine.host {
        Host::Unix(socket) => {
            let stream = UnixStream::connect(socket).await.map_err(broken)?;
            let (stream, early) = upgrade(&engine.docker, stream, path, body).await?;
            let (reader, writer) = stream.into_split();
            Ok(demultiplexed(reader, writer, &early))
        }
        Host::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(broken)?;
            stream.set_nodelay(true).map_err(broken)?;
            let (stream, early) = upgrade(&engine.docker, stream, path, body).await?;
            let (reader, writer) = stream.into_split();
            Ok(demultiplexed(reader, writer, &early))
        }
    }
}

/// Asks for the connection; returns it, with what came after the answer already.
async fn upgrade<S>(
    docker: &Docker,
    stream: S,
    path: &str,
    body: Bytes,
) -> Result<(S, Bytes), AttachError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| AttachError::Broken(error.to_string());
    let version = docker.client_version();
    let (major, minor) = (version.major_version, version.minor_version);
    let request = Request::post(format!("/v{major}.{minor}/{path}"))
        .header(HOST, "docker")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| AttachError::Broken(error.to_string()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await.map_err(broken)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), REFUSAL_LIMIT).collect();
        let body = body.await.map(|body| body.to_bytes()).unwrap_or_default();
        let words = serde_json::from_slice::<serde_json::Value>(&body).ok();
        let message = words
            .and_then(|words| Some(words.get("message")?.as_str()?.to_owned()))
            .unwrap_or_else(|| String::from("the engine does not hand over the connection"));
        return Err(AttachError::Refused { status, message });
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(broken)?;
    match upgraded.downcast::<TokioIo<S>>() {
        Ok(parts) => Ok((parts.io.into_inner(), parts.read_buf)),
        Err(_) => Err(AttachError::Broken(String::from(
            "the connection is not the one that was opened",
        ))),
    }
}

fn demultiplexed(
    reader: impl AsyncRead + Send + Unpin + 'static,
    writer: impl AsyncWrite + Send + 'static,
    early: &[u8],
) -> AgentStream {
    let reader = std::io::Cursor::new(early.to_vec()).chain(reader);
    AgentStream {
        reader: Box::pin(Stdout::new(reader)),
        writer: Box::pin(writer),
    }
}

/// The standard output in an engine's stream, which is made of frames: a byte that names the stream,
/// three zeros, four bytes of length, and so many bytes. Standard error carries nothing that the
/// protocol needs.
struct Stdout<R> {
    reader: R,
    buffer: Box<[u8]>,
    /// What of the buffer is filled and not used.
    filled: std::ops::Range<usize>,
    /// What of the frame is still to come.
    rest: usize,
    /// Whether it is for us.
    wanted: bool,
}

const HEADER: usize = 8;

impl<R: AsyncRead + Unpin> Stdout<R> {
    fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            filled: 0..0,
            rest: 0,
            wanted: false,
        }
    }

    /// Reads more; `false` at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.buffer.copy_within(self.filled.clone(), 0);
        self.filled = 0..self.filled.len();
        let space = self.buffer.get_mut(self.filled.end..).unwrap_or_default();
        let mut space = ReadBuf::new(space);
        ready!(Pin::new(&mut self.reader).poll_read(cx, &mut space))?;
        let count = space.filled().len();
        self.filled.end += count;
        Poll::Ready(Ok(count > 0))
    }

    /// Takes the next header, if all of it is there.
    fn header(&mut self) -> io::Result<bool> {
        let bytes = self.buffer.get(self.filled.clone()).unwrap_or_default();
        let Some([stream, 0, 0, 0, a, b, c, d]) = bytes.first_chunk::<HEADER>() else {
            return match bytes.len() {
                HEADER.. => Err(not_frames()),
                _ => Ok(false),
            };
        };
        self.wanted = match stream {
            0 | 1 => true,
            2 => false,
            _ => return Err(not_frames()),
        };
        let length = u32::from_be_bytes([*a, *b, *c, *d]);
        self.rest = usize::try_from(length).map_err(|_| not_frames())?;
        self.filled.start += HEADER;
        Ok(true)
    }
}

fn not_frames() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the container engine sent something that is not a frame of output",
    )
}

impl<R: AsyncRead + Unpin> AsyncRead for Stdout<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        while out.remaining() > 0 {
            let given = out.filled().len() > before;
            let ready = this.filled.len().min(this.rest);
            if ready > 0 {
                let count = if this.wanted {
                    ready.min(out.remaining())
                } else {
                    ready
                };
                let piece = this.filled.start..this.filled.start + count;
                if this.wanted {
                    out.put_slice(this.buffer.get(piece).unwrap_or_default());
                }
                this.filled.start += count;
                this.rest -= count;
            } else if this.rest > 0 || !this.header()? {
                if given {
                    break;
                }
                if !ready!(this.poll_fill(cx))? {
                    if this.rest > 0 || !this.filled.is_empty() {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::Stdout;

    fn frame(stream: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&[stream, 0, 0, 0][..], &length, bytes].concat()
    }

    /// What comes out when the bytes arrive in pieces of this size.
    async fn read(bytes: Vec<u8>, piece: usize) -> std::io::Result<Vec<u8>> {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let sent = tokio::spawn(async move {
            for piece in bytes.chunks(piece) {
                far.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut out = Vec::new();
        let result = Stdout::new(near).read_to_end(&mut out).await;
        sent.await.unwrap();
        result.map(|_| out)
    }

    #[tokio::test]
    async fn frames_become_one_stream_however_they_arrive() {
        let large: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let frames = [
            frame(1, b"hello "),
            frame(2, b"not for us"),
            frame(1, b""),
            frame(1, &large),
            frame(1, b" end"),
        ];
        let expected = [b"hello ".as_slice(), &large, b" end"].concat();
        for piece in [1, 7, 8, 4096, 900_000] {
            // Single bytes of a large frame would only take long.
            let frames = if piece < 100 {
                &frames[..3]
            } else {
                &frames[..]
            };
            let expected = if piece < 100 {
                b"hello "
            } else {
                &expected[..]
            };
            let out = read(frames.concat(), piece).await.unwrap();
            assert!(out == expected, "in pieces of {piece}: {} bytes", out.len());
        }
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_or_is_no_stream_is_an_error() {
        let whole = frame(1, b"hello");
        for cut in [3, 9] {
            let error = read(whole[..cut].to_vec(), 100).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{cut}");
        }
        for bytes in [frame(3, b"x"), b"HTTP/1.1 200 OK\r\n".to_vec()] {
            let error = read(bytes, 100).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
        }
    }
}
