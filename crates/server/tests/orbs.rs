//! Orb sources against a registry of our own that behaves, and one that does not.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails as the test does"
)]

#[path = "orbs/listener.rs"]
mod listener;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use capstan_model::Secret;
use capstan_server::net::{Limits, NetSettings, Proxies};
use capstan_server::orbs::registry::Registry;
use capstan_server::orbs::{Once, Orb, OrbSettings, OrbSources, Orbs as _, UrlOrbs};
use serde_json::{Value, json};

use listener::{Listener, Reply};

/// Settings for tests: impatient.
fn settings(registries: &[&Listener]) -> OrbSettings {
    OrbSettings {
        registries: registries
            .iter()
            .map(|listener| Registry::new(&listener.http(), None).unwrap())
            .collect(),
        net: NetSettings {
            limits: Limits {
                connect: Duration::from_secs(3),
                attempt: Duration::from_secs(3),
                backoff: Duration::from_millis(10),
                longest_wait: Duration::from_millis(1500),
                ..Limits::default()
            },
            extra_roots: Some(tls("ca.pem")),
            proxies: Proxies::default(),
        },
        ..OrbSettings::default()
    }
}

fn tls(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/tls")
        .join(name)
}

fn orb(version: &str, source: &str) -> Value {
    json!({ "data": { "orbVersion": { "id": "1", "version": version, "source": source } } })
}

fn found(exact: &str, text: &str) -> Orb {
    Orb::Found {
        exact: exact.to_owned(),
        text: text.to_owned(),
    }
}

/// Why an orb could not be had.
async fn why(settings: OrbSettings, reference: &str) -> String {
    match OrbSources::new(settings).unwrap().find(reference).await {
        Orb::Unavailable(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_registry_is_asked_by_the_documented_query() {
    let registry = Listener::start(|_, request| {
        assert_eq!(request.path, "/graphql-unstable");
        assert_eq!(request.header("authorization"), Some("t0ken"));
        let asked: Value = serde_json::from_str(&request.body).unwrap();
        let query = asked["query"].as_str().unwrap();
        assert!(
            query.contains("orbVersion(orbVersionRef: $orbVersionRef)"),
            "{query}"
        );
        match asked["variables"]["orbVersionRef"].as_str().unwrap() {
            "acme/x@1" => Reply::json(&orb("1.9.2", "version: 2.1")),
            "acme/x@dev:first" => Reply::json(&orb("dev:first", "version: 2.1 # dev")),
            _ => Reply::json(&json!({ "data": { "orbVersion": null } })),
        }
    })
    .await;
    let mut settings = settings(&[]);
    let token = Some(Secret::new(String::from("t0ken")));
    settings.registries = vec![Registry::new(&format!("{}/", registry.http()), token).unwrap()];
    let orbs = OrbSources::new(settings).unwrap();
    assert_eq!(
        orbs.find("acme/x@1").await,
        found("acme/x@1.9.2", "version: 2.1")
    );
    assert_eq!(
        orbs.find("acme/x@dev:first").await,
        found("acme/x@dev:first", "version: 2.1 # dev")
    );
    assert_eq!(orbs.find("acme/none@9.9.9").await, Orb::NotFound);
}

#[tokio::test]
async fn an_answer_that_cannot_be_is_refused_by_name() {
    let cases: Vec<(Reply, &str)> = vec![
        (
            Reply::json(
                &json!({ "errors": [{ "message": "no such\u{1b}[31m field" }], "data": null }),
            ),
            "says: no such [31m field",
        ),
        (Reply::json(&json!({ "data": null })), "without data"),
        (Reply::json(&json!({ "data": {} })), "not its JSON"),
        (
            Reply::json(&orb("2.0.0", "x")),
            "answers acme/x@1 with version 2.0.0",
        ),
        (Reply::json(&orb("1.0", "x")), "with version 1.0"),
        (
            Reply::json(
                &json!({ "data": { "orbVersion": { "version": "1.0.0", "source": null } } }),
            ),
            "gives no source",
        ),
        (Reply::text(200, "<html>hello"), "not its JSON"),
        (
            Reply::text(200, "{\"data\": {\"orbVersion\": 5}}"),
            "not its JSON",
        ),
        (
            Reply::bytes(
                200,
                b"{\"data\": {\"orbVersion\": {\"version\": \"1.0.0\", \"source\": \"\xff\"}}}",
            ),
            "not its JSON",
        ),
        (
            Reply::text(200, &" ".repeat((4 << 20) + 1)),
            "larger than 4194304 bytes",
        ),
        (Reply::text(404, "{}"), "answers 404"),
        (Reply::text(401, "{}"), "CAPSTAN_ORB_TOKEN"),
        (
            Reply::text(302, "").with("Location", "http://169.254.169.254/x"),
            "redirects to http://169.254.169.254/x",
        ),
        (
            Reply::raw(b"SSH-2.0-hello\r\n"),
            "connection to 127.0.0.1 broke",
        ),
        (
            Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
            "connection to 127.0.0.1 broke",
        ),
    ];
    for (reply, expected) in cases {
        let registry = Listener::start(move |_, _| reply.clone()).await;
        let said = why(settings(&[&registry]), "acme/x@1").await;
        assert!(said.contains(expected), "{expected:?} in {said:?}");
        assert!(
            said.contains(&registry.http()),
            "names the registry: {said}"
        );
        assert!(said.contains("; "), "says what to do: {said}");
        assert!(!said.contains('\u{1b}'));
    }
}

#[tokio::test]
async fn passing_trouble_is_waited_out_and_lasting_trouble_ends() {
    let registry = Listener::start(|number, _| match number {
        0 => Reply::text(503, "busy"),
        1 => Reply::Hang,
        _ => Reply::json(&orb("1.0.0", "x")),
    })
    .await;
    let mut impatient = settings(&[&registry]);
    impatient.net.limits.attempt = Duration::from_secs(1);
    let orbs = OrbSources::new(impatient).unwrap();
    assert_eq!(orbs.find("acme/x@1").await, found("acme/x@1.0.0", "x"));
    assert_eq!(registry.count(), 3);

    let registry = Listener::start(|_, _| Reply::text(500, "no")).await;
    let said = why(settings(&[&registry]), "acme/x@1").await;
    assert!(said.contains("answers 500"), "{said}");
    assert_eq!(registry.count(), 3, "three attempts, no more");

    let registry = Listener::start(|_, _| Reply::Hang).await;
    let start = Instant::now();
    let mut impatient = settings(&[&registry]);
    impatient.net.limits.attempt = Duration::from_millis(300);
    let said = why(impatient, "acme/x@1").await;
    assert!(
        said.contains("no answer from 127.0.0.1 within 0.3 s"),
        "{said}"
    );
    assert!(start.elapsed() < Duration::from_secs(6));
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_kept_unless_it_is_long() {
    let registry = Listener::start(|number, _| match number {
        0 => Reply::text(429, "slow down").with("Retry-After", "1"),
        _ => Reply::json(&orb("1.0.0", "x")),
    })
    .await;
    let start = Instant::now();
    let orbs = OrbSources::new(settings(&[&registry])).unwrap();
    assert_eq!(orbs.find("acme/x@1").await, found("acme/x@1.0.0", "x"));
    assert!(start.elapsed() >= Duration::from_secs(1));

    let registry = Listener::start(|_, _| Reply::text(503, "").with("Retry-After", "3600")).await;
    let said = why(settings(&[&registry]), "acme/x@1").await;
    assert!(said.contains("asks to wait 3600 s"), "{said}");
    assert_eq!(registry.count(), 1);
}

#[tokio::test]
async fn nobody_there_is_said_with_what_to_do() {
    let gone = Listener::start(|_, _| Reply::Hang).await;
    let address = gone.http();
    drop(gone);
    let mut settings = settings(&[]);
    settings.registries = vec![Registry::new(&address, None).unwrap()];
    let said = why(settings, "acme/x@1").await;
    assert!(said.contains(&address), "{said}");
    assert!(said.contains("cannot connect"), "{said}");
    assert!(said.contains("--offline"), "{said}");
}

#[tokio::test]
async fn an_exact_version_is_fetched_once_and_a_range_each_time() {
    let registry = Listener::start(|number, request| {
        let asked: Value = serde_json::from_str(&request.body).unwrap();
        match asked["variables"]["orbVersionRef"].as_str().unwrap() {
            "acme/x@1.2.3" => Reply::json(&orb("1.2.3", "exact")),
            _ => Reply::json(&orb(&format!("1.3.{number}"), "range")),
        }
    })
    .await;
    let cache = tempfile::tempdir().unwrap();
    let with_cache = |offline| {
        let mut settings = settings(&[&registry]);
        settings.cache = Some(cache.path().to_owned());
        settings.offline = offline;
        OrbSources::new(settings).unwrap()
    };
    let orbs = with_cache(false);
    for _ in 0..3 {
        assert_eq!(
            orbs.find("acme/x@1.2.3").await,
            found("acme/x@1.2.3", "exact")
        );
    }
    assert_eq!(registry.count(), 1);
    assert_eq!(orbs.find("acme/x@1").await, found("acme/x@1.3.1", "range"));
    assert_eq!(orbs.find("acme/x@1").await, found("acme/x@1.3.2", "range"));
    assert_eq!(registry.count(), 3);

    // What was written to the cache is checked: it is fetched again, not believed.
    for blob in std::fs::read_dir(cache.path().join("blobs")).unwrap() {
        std::fs::write(blob.unwrap().path(), "version: 2.1 # evil").unwrap();
    }
    assert_eq!(
        orbs.find("acme/x@1.2.3").await,
        found("acme/x@1.2.3", "exact")
    );
    assert_eq!(registry.count(), 4);
    assert_eq!(
        orbs.find("acme/x@1.2.3").await,
        found("acme/x@1.2.3", "exact")
    );
    assert_eq!(registry.count(), 4);
    assert_eq!(orbs.find("acme/x@1").await, found("acme/x@1.3.4", "range"));

    // One run that compiles twice sees one answer.
    let once = Once::new(with_cache(false));
    assert_eq!(once.find("acme/x@1").await, once.find("acme/x@1").await);
    assert_eq!(registry.count(), 6);
}

#[tokio::test]
async fn offline_opens_no_connection_and_takes_what_is_there() {
    let registry = Listener::start(|_, _| Reply::json(&orb("1.2.3", "fetched"))).await;
    let secure = Listener::start_tls(tls(""), |_, _| Reply::text(200, "by address")).await;
    let url = format!("{}/orbs/a.yml", secure.https());
    let cache = tempfile::tempdir().unwrap();
    let with = |offline, keep: bool| {
        let mut settings = settings(&[&registry]);
        settings.cache = keep.then(|| cache.path().to_owned());
        settings.offline = offline;
        settings.urls = UrlOrbs::new(
            vec![format!("{}/orbs/", secure.https()).parse().unwrap()],
            vec![String::from("localhost")],
        )
        .unwrap();
        settings
    };
    for keep in [true, false] {
        for reference in [
            "acme/x@1.2.3",
            "acme/x@1",
            "acme/x@volatile",
            "acme/x@dev:a",
            &url,
        ] {
            let said = why(with(true, keep), reference).await;
            assert!(said.contains("--offline opens no connection"), "{said}");
            assert!(said.contains("run once without --offline"), "{said}");
        }
    }
    assert!(
        why(with(true, true), "acme/x@1.2.3")
            .await
            .contains("acme/x/1.2.3.yml into a folder")
    );
    assert_eq!(
        (registry.count(), secure.count()),
        (0, 0),
        "nobody was called"
    );

    let online = OrbSources::new(with(false, true)).unwrap();
    online.find("acme/x@1").await;
    online.find(&url).await;
    assert_eq!((registry.count(), secure.count()), (1, 1));
    let offline = OrbSources::new(with(true, true)).unwrap();
    assert_eq!(
        offline.find("acme/x@1").await,
        found("acme/x@1.2.3", "fetched")
    );
    assert_eq!(offline.find(&url).await, found(&url, "by address"));
    assert_eq!(
        (registry.count(), secure.count()),
        (1, 1),
        "nobody was called"
    );
}

#[tokio::test]
async fn folders_come_first_and_a_failing_registry_is_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acme/x/1.0.0.yml");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "from the folder").unwrap();
    let down = Listener::start(|_, _| Reply::text(403, "")).await;
    let empty =
        Listener::start(|_, _| Reply::json(&json!({ "data": { "orbVersion": null } }))).await;
    let public = Listener::start(|_, _| Reply::json(&orb("1.5.0", "public"))).await;

    let mut with_folder = settings(&[&down]);
    with_folder.folders = vec![folder.path().to_owned()];
    let orbs = OrbSources::new(with_folder).unwrap();
    assert_eq!(
        orbs.find("acme/x@1").await,
        found("acme/x@1.0.0", "from the folder")
    );
    assert_eq!(down.count(), 0);

    let orbs = OrbSources::new(settings(&[&empty, &public])).unwrap();
    assert_eq!(orbs.find("acme/x@1").await, found("acme/x@1.5.0", "public"));
    assert_eq!(empty.count(), 1);

    // Else somebody who registers the name in public could put an orb in the place of a private one.
    let said = why(settings(&[&down, &public]), "acme/x@1").await;
    assert!(said.contains(&down.http()), "{said}");
    assert_eq!(public.count(), 1);
}

#[tokio::test]
async fn an_address_is_fetched_only_where_it_is_allowed_and_public() {
    let secure = Listener::start_tls(tls(""), |_, request| match request.path.as_str() {
        "/orbs/a.yml" => Reply::text(200, "an orb"),
        "/orbs/moved.yml" => Reply::text(302, "").with("Location", "/orbs/a.yml"),
        "/orbs/odd.yml" => Reply::bytes(200, b"\xff\xfe"),
        "/orbs/large.yml" => Reply::text(200, &"x".repeat((4 << 20) + 1)),
        _ => Reply::text(404, "no"),
    })
    .await;
    let base = secure.https();
    let with = |private: &[&str]| {
        let mut settings = settings(&[]);
        let private = private.iter().map(|host| (*host).to_owned()).collect();
        let allow = vec![format!("{base}/orbs/").parse().unwrap()];
        settings.urls = UrlOrbs::new(allow, private).unwrap();
        settings
    };
    let url = |name: &str| format!("{base}/{name}");

    let said = why(with(&[]), &url("orbs/a.yml")).await;
    assert!(said.contains("no address of the public internet"), "{said}");
    assert!(said.contains("--orb-private-host localhost"), "{said}");
    let elsewhere = url("elsewhere/a.yml");
    let orbs = OrbSources::new(with(&["localhost"])).unwrap();
    match orbs.find(&elsewhere).await {
        Orb::Refused(said) => assert!(said.contains("--orb-allow"), "{said}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(secure.count(), 0, "nobody was called");

    let told = Arc::new(AtomicUsize::new(0));
    let mut settings = with(&["localhost"]);
    let count = Arc::clone(&told);
    settings.notice = Some(Arc::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    let orbs = OrbSources::new(settings).unwrap();
    assert_eq!(
        orbs.find(&url("orbs/a.yml")).await,
        found(&url("orbs/a.yml"), "an orb")
    );
    assert_eq!(told.load(Ordering::Relaxed), 1);
    for (name, expected) in [
        ("orbs/moved.yml", "redirects, which is not followed"),
        ("orbs/odd.yml", "not UTF-8"),
        ("orbs/large.yml", "larger than"),
        ("orbs/none.yml", "answers 404"),
    ] {
        let said = why(with(&["localhost"]), &url(name)).await;
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn a_server_nobody_vouches_for_is_not_believed() {
    let secure = Listener::start_tls(tls(""), |_, _| Reply::json(&orb("1.0.0", "x"))).await;
    let mut settings = settings(&[]);
    settings.registries = vec![Registry::new(&secure.https(), None).unwrap()];
    settings.net.extra_roots = None;
    let said = why(settings, "acme/x@1").await;
    assert!(said.contains("no secure connection"), "{said}");
    assert!(said.contains("CAPSTAN_CA_FILE"), "{said}");
}

#[tokio::test]
async fn a_proxy_carries_what_is_not_on_this_machine() {
    let proxy = Listener::start(|_, request| {
        assert_eq!(request.method, "CONNECT");
        assert_eq!(request.path, "registry.example:443");
        assert_eq!(
            request.header("proxy-authorization"),
            Some("Basic YW5uOmh1c2g=")
        );
        Reply::text(407, "")
    })
    .await;
    let address = proxy.http().replace("http://", "http://ann:hush@");
    let mut settings = settings(&[]);
    settings.registries = vec![Registry::new("https://registry.example", None).unwrap()];
    settings.net.proxies =
        Proxies::from_variables(|name| (name == "HTTPS_PROXY").then(|| address.clone()));
    let said = why(settings, "acme/x@1").await;
    assert!(said.contains("answers 407"), "{said}");
    assert!(!said.contains("hush"), "{said}");
    assert_eq!(proxy.count(), 1);
}

#[tokio::test]
async fn what_a_proxy_carries_is_still_proved_to_be_who_it_should() {
    let secure = Listener::start_tls(tls(""), |_, request| {
        assert_eq!(request.header("proxy-authorization"), None);
        Reply::json(&orb("1.0.0", "through the proxy"))
    })
    .await;
    let tunnel = listener::tunnel_to(&secure).await;
    let ask = async |host: &str| {
        let mut settings = settings(&[]);
        let base = format!("https://{host}");
        settings.registries = vec![Registry::new(&base, None).unwrap()];
        settings.net.proxies =
            Proxies::from_variables(|name| (name == "https_proxy").then(|| tunnel.clone()));
        OrbSources::new(settings).unwrap().find("acme/x@1").await
    };
    assert_eq!(
        ask("registry.test").await,
        found("acme/x@1.0.0", "through the proxy")
    );
    // The same server under a name that its certificate does not have.
    match ask("other.test").await {
        Orb::Unavailable(why) => assert!(why.contains("no secure connection"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_registry_is_named_by_a_secure_address_or_one_of_this_machine() {
    for base in [
        "ftp://x.example",
        "http://registry.example",
        "http://127.0.0.1.example",
        "https://a:b@x.example",
        "https://x.example/?y",
        "x.example",
    ] {
        assert!(Registry::new(base, None).is_err(), "{base}");
    }
    for base in [
        "https://x.example/",
        "https://x.example/capstan",
        "http://localhost:3000",
        "http://[::1]:3000",
        "http://127.0.0.1",
    ] {
        assert!(Registry::new(base, None).is_ok(), "{base}");
    }
}

#[tokio::test]
async fn orbs_of_a_registry_are_described_and_listed() {
    let registry = Listener::start(|_, request| {
        let asked: Value = serde_json::from_str(&request.body).unwrap();
        let query = asked["query"].as_str().unwrap();
        let page = |names: &[&str], more: bool| {
            let edges: Vec<Value> = names
                .iter()
                .map(|name| {
                    let versions = json!([{ "version": "1.0.0" }]);
                    json!({ "cursor": name, "node": { "name": name, "versions": versions } })
                })
                .collect();
            json!({ "edges": edges, "pageInfo": { "hasNextPage": more } })
        };
        let data = if query.contains("registryNamespace") {
            match (&asked["variables"]["namespace"], &asked["variables"]["after"]) {
                (namespace, _) if namespace != "acme" => json!({ "registryNamespace": null }),
                (_, after) if after == "" => {
                    json!({ "registryNamespace": { "id": "1", "name": "acme", "orbs": page(&["acme/a1", "acme/b1"], true) } })
                }
                (_, after) if after == "acme/b1" => {
                    json!({ "registryNamespace": { "id": "1", "name": "acme", "orbs": page(&["acme/c1"], false) } })
                }
                (_, after) => panic!("after {after}"),
            }
        } else if query.contains("certifiedOnly") {
            json!({ "orbs": page(&["circleci/node"], false) })
        } else {
            json!({ "orbVersion": { "id": "1", "version": "1.2.0", "createdAt": "2026-01-02T00:00:00Z",
                "orb": { "id": "2", "name": "acme/a1", "createdAt": "2025-01-02T00:00:00Z", "isPrivate": true,
                    "categories": [{ "name": "Build" }],
                    "statistics": { "last30DaysBuildCount": 3, "last30DaysProjectCount": 2, "last30DaysOrganizationCount": 1 },
                    "versions": [{ "version": "1.2.0", "createdAt": "2026-01-02T00:00:00Z" }] } } })
        };
        Reply::json(&json!({ "data": data }))
    })
    .await;
    let orbs = OrbSources::new(settings(&[&registry])).unwrap();
    let (net, registry) = (orbs.net().unwrap(), orbs.registries().first().unwrap());
    let info = registry.info(net, "acme/a1@1").await.unwrap().unwrap();
    assert_eq!(info.name, "acme/a1");
    assert_eq!(info.used, Some((3, 2, 1)));
    assert!(info.private);
    assert_eq!(info.versions.len(), 1);
    let names = async |namespace| -> Option<Vec<String>> {
        let listed = registry.list(net, namespace).await.unwrap()?;
        Some(listed.into_iter().map(|orb| orb.name).collect())
    };
    assert_eq!(
        names(Some("acme")).await.unwrap(),
        ["acme/a1", "acme/b1", "acme/c1"]
    );
    assert_eq!(names(None).await.unwrap(), ["circleci/node"]);
    assert_eq!(names(Some("nobody")).await, None);
}

/// Ranges over the versions of real orbs, which are no part of this repository.
#[tokio::test]
async fn ranges_over_real_orbs_take_the_highest() {
    let Some(folder) = shared_orbs() else {
        let required = std::env::var("CAPSTAN_REQUIRE").unwrap_or_default();
        assert!(
            !required.contains("shared"),
            "CAPSTAN_REQUIRE asks for it, and there is no shared/orbs"
        );
        println!(
            "skipped: no shared/orbs beside any folder above {}",
            env!("CARGO_MANIFEST_DIR")
        );
        return;
    };
    let mut settings = settings(&[]);
    settings.folders = vec![folder.clone()];
    settings.offline = true;
    let orbs = OrbSources::new(settings).unwrap();
    let numbers = |version: &str| -> Option<Vec<u64>> {
        version.split('.').map(|part| part.parse().ok()).collect()
    };
    let mut checked = 0;
    for namespace in children(&folder) {
        for name in children(&folder.join(&namespace)) {
            let versions: Vec<Vec<u64>> = children(&folder.join(&namespace).join(&name))
                .iter()
                .filter_map(|file| numbers(file.strip_suffix(".yml")?))
                .collect();
            for version in &versions {
                let [major, minor, patch] = version.as_slice() else {
                    panic!("{namespace}/{name}: {version:?}");
                };
                let highest = |wanted: &[u64]| {
                    let highest = versions.iter().filter(|v| v.starts_with(wanted)).max();
                    let parts: Vec<String> =
                        highest.unwrap().iter().map(ToString::to_string).collect();
                    parts.join(".")
                };
                let cases = [
                    (String::from("volatile"), highest(&[])),
                    (format!("{major}"), highest(&[*major])),
                    (format!("{major}.{minor}"), highest(&[*major, *minor])),
                    (format!("{major}.{minor}.{patch}"), highest(version)),
                ];
                for (asked, expected) in cases {
                    let reference = format!("{namespace}/{name}@{asked}");
                    match orbs.find(&reference).await {
                        Orb::Found { exact, text } => {
                            assert_eq!(exact, format!("{namespace}/{name}@{expected}"));
                            assert!(!text.is_empty());
                        }
                        other => panic!("{reference}: {other:?}"),
                    }
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 100, "{checked} references");
}

fn shared_orbs() -> Option<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/orbs"))
        .find(|folder| folder.is_dir())
}

fn children(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}
