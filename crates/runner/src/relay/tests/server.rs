//! A server that keeps what it is told, and answers as it is told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use capstan_model::wire::Assignment;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

/// See the module.
#[derive(Default)]
pub(super) struct Script {
    /// Answers to the next requests whose path contains the word, before anything is done.
    pub(super) refusals: Mutex<Vec<(&'static str, &'static str)>>,
    /// Nothing is answered but by closing the connection.
    away: AtomicBool,
    pub(super) claims: Mutex<Vec<Assignment>>,
    told: Mutex<Told>,
    /// Lets a held source go.
    pub(super) source: Notify,
    news: Notify,
}

#[derive(Default)]
pub(super) struct Told {
    pub(super) events: Vec<Value>,
    pub(super) logs: BTreeMap<u64, Vec<u8>>,
    pub(super) renewals: usize,
}

impl Script {
    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    pub(super) fn go_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    pub(super) async fn serve(self: Arc<Self>, listener: UnixListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(Arc::clone(&self).converse(stream));
        }
    }

    async fn converse(self: Arc<Self>, stream: UnixStream) {
        let mut stream = BufReader::new(stream);
        while let Some((path, body)) = request(&mut stream).await {
            if self.away.load(Ordering::SeqCst) {
                return;
            }
            let (head, body) = self.answer(&path, &body).await;
            let length = body.len();
            let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n");
            let answer = [answer.as_bytes(), &body].concat();
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, path: &str, body: &[u8]) -> (&'static str, Vec<u8>) {
        let refusal = {
            let mut refusals = self.refusals.lock().unwrap();
            let at = refusals.iter().position(|(word, _)| path.contains(word));
            at.map(|at| refusals.remove(at).1)
        };
        if let Some(head) = refusal {
            return (head, b"not now".to_vec());
        }
        if path.contains("/claim") {
            let next = self.claims.lock().unwrap().pop();
            return match next {
                Some(assignment) => ("200 OK", serde_json::to_vec(&assignment).unwrap()),
                None => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    ("204 No Content", Vec::new())
                }
            };
        }
        if path.contains("/source") {
            self.source.notified().await;
            return ("200 OK", b"a tar stream".to_vec());
        }
        if path.contains("/renew") {
            self.told().renewals += 1;
        } else if let Some((_, rest)) = path.split_once("/log/") {
            let (step, query) = rest.split_once('?').unwrap();
            let offset = query.split_once("offset=").unwrap().1;
            self.store(step.parse().unwrap(), offset.parse().unwrap(), body);
        } else {
            let report: Value = serde_json::from_slice(body).unwrap();
            for event in report["events"].as_array().unwrap() {
                if event["type"] == "output" {
                    let text = event["text"].as_str().unwrap().as_bytes();
                    let number = |name: &str| event[name].as_u64().unwrap();
                    self.store(number("step"), number("offset"), text);
                }
                self.told().events.push(event.clone());
            }
        }
        self.news.notify_waiters();
        ("200 OK", br#"{"want":"continue"}"#.to_vec())
    }

    /// As the real one does: what is stored already is passed over, a gap is a mistake.
    fn store(&self, step: u64, offset: u64, bytes: &[u8]) {
        let mut told = self.told();
        let log = told.logs.entry(step).or_default();
        let known = log.len().checked_sub(usize::try_from(offset).unwrap());
        let known = known.expect("output comes without gaps");
        log.extend_from_slice(bytes.get(known..).unwrap_or_default());
    }

    /// Waits until what was told is as wanted.
    pub(super) async fn until(&self, wanted: impl Fn(&Told) -> bool) {
        let wait = async {
            loop {
                let news = self.news.notified();
                if wanted(&self.told()) {
                    return;
                }
                news.await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        assert!(waited.is_ok(), "{:?}", self.told().events);
    }

    /// How the task ended, once it has.
    pub(super) async fn outcome(&self) -> Value {
        let finished = |event: &Value| event["type"] == "finished";
        self.until(|told| told.events.iter().any(finished)).await;
        let told = self.told();
        told.events.last().unwrap()["outcome"].clone()
    }

    pub(super) fn log(&self, step: u64) -> String {
        let told = self.told();
        String::from_utf8(told.logs.get(&step).cloned().unwrap_or_default()).unwrap()
    }
}

/// Path and body of a request.
async fn request(stream: &mut BufReader<UnixStream>) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        match header.trim().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap();
            }
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((path, body))
}
