//! Against a real HTTP server on loopback, and real files.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::*;

/// Serves what it is told and counts how often.
struct JwksServer {
    url: String,
    answer: Arc<Mutex<(StatusCode, Vec<u8>)>>,
    requests: Arc<AtomicU32>,
    /// A request is answered when it gets a permit.
    gate: Arc<Semaphore>,
    task: tokio::task::JoinHandle<()>,
}

impl JwksServer {
    async fn start(keys: &[Value]) -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap(), keys).await
    }

    async fn start_on(address: SocketAddr, keys: &[Value]) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new((StatusCode::OK, document(keys))));
        let requests = Arc::new(AtomicU32::new(0));
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let state = (Arc::clone(&answer), Arc::clone(&requests), Arc::clone(&gate));
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (answer, requests, gate) = state.clone();
                let service = service_fn(move |_| {
                    let (answer, requests, gate) =
                        (Arc::clone(&answer), Arc::clone(&requests), Arc::clone(&gate));
                    async move {
                        requests.fetch_add(1, Ordering::SeqCst);
                        gate.acquire().await.unwrap().forget();
                        let (status, body) = answer.lock().unwrap().clone();
                        let mut response = Response::new(Full::new(Bytes::from(body)));
                        *response.status_mut() = status;
                        if status.is_redirection() {
                            response.headers_mut().insert("location", "/elsewhere".parse().unwrap());
                        }
                        Ok::<_, Infallible>(response)
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { url, answer, requests, gate, task }
    }

    fn serve(&self, status: StatusCode, body: Vec<u8>) {
        *self.answer.lock().unwrap() = (status, body);
    }

    fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }

    /// From now on each request waits for `let_through`.
    fn hold(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn let_through(&self, requests: usize) {
        self.gate.add_permits(requests);
    }
}

impl Drop for JwksServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn options() -> RefreshOptions {
    RefreshOptions { refresh_every: Duration::from_hours(1), ca_file: None }
}

fn verifier_of(source: KeySource) -> Verifier {
    Verifier::new(vec![IssuerPolicy { keys: source, ..policy() }], None).unwrap()
}

/// What these tests wait for happens within seconds; that it never happens must fail rather than hang.
fn bounded(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_mins(1), test).await.expect("waited in vain");
    });
}

/// A refresher in the background; dropping ends it.
struct Running {
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(verifier: &Verifier) -> Self {
        let cancel = CancellationToken::new();
        let refresher = KeyRefresher::new(Arc::clone(verifier.ring()), &options()).unwrap();
        let task = tokio::spawn(refresher.run(cancel.clone()));
        verifier.ring().settled().await;
        Self { cancel, task }
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap();
    }
}

/// Asks until the limit lets a fetch through.
async fn refetch(verifier: &Verifier) -> Refetch {
    loop {
        match verifier.ring().refetch(0).await {
            Refetch::Limited => tokio::time::sleep(Duration::from_millis(20)).await,
            ended => return ended,
        }
    }
}

#[test]
fn loads_at_once_and_rotation_purges_the_cache() {
    bounded(async {
        let keys = test_keys();
        let server = JwksServer::start(&[rsa_jwk("old", &keys.rsa)]).await;
        let verifier = verifier_of(KeySource::Url(server.url.clone()));
        let running = Running::start(&verifier).await;
        let ring = verifier.ring();
        let old = sign(Algorithm::Rs256, "old", &claims());
        let mut cache = TokenCache::new(16);
        cache.insert(old.as_bytes(), &verifier.verify(&old, NOW).unwrap(), Rc::new(()));
        assert!(cache.get(old.as_bytes(), NOW, ring.version()).is_some());

        server.serve(StatusCode::OK, document(&[ed_jwk("new")]));
        let new = sign(Algorithm::EdDsa, "new", &claims());
        assert_eq!(verifier.verify(&new, NOW), Err(TokenFault::KeyUnknown { issuer_index: 0 }));
        assert_eq!(refetch(&verifier).await, Refetch::Fetched);
        assert!(verifier.verify(&new, NOW).is_ok());
        assert!(
            cache.get(old.as_bytes(), NOW, ring.version()).is_none(),
            "a withdrawn key's token is out at once"
        );
        assert_eq!(verifier.verify(&old, NOW), Err(TokenFault::KeyUnknown { issuer_index: 0 }));

        let status = &ring.status()[0];
        assert_eq!((status.keys, status.fetched, status.changed, status.failed), (Some(1), 2, 2, 0));
        running.stop().await;
    });
}

#[test]
fn one_flight_for_all_who_ask() {
    bounded(async {
        let server = JwksServer::start(&all_jwks()).await;
        let verifier = Arc::new(verifier_of(KeySource::Url(server.url.clone())));
        let running = Running::start(&verifier).await;
        assert_eq!(server.requests(), 1);
        server.hold();
        let first = tokio::spawn({
            let verifier = Arc::clone(&verifier);
            async move { refetch(&verifier).await }
        });
        while server.requests() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The fetch is held at the server: everyone who asks now joins it, from this runtime and from others.
        let joiners: Vec<_> = (0..50)
            .map(|_| {
                let verifier = Arc::clone(&verifier);
                tokio::spawn(async move { verifier.ring().refetch(0).await })
            })
            .collect();
        let elsewhere = std::thread::spawn({
            let verifier = Arc::clone(&verifier);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(verifier.ring().refetch(0))
            }
        });
        while verifier.ring().issuers()[0].flight.receiver_count() < 52 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.let_through(1);
        assert_eq!(first.await.unwrap(), Refetch::Fetched);
        for joiner in joiners {
            assert_eq!(joiner.await.unwrap(), Refetch::Fetched);
        }
        assert_eq!(elsewhere.join().unwrap(), Refetch::Fetched);
        assert_eq!(server.requests(), 2);
        running.stop().await;
    });
}

/// A worker's wish and the timer can coincide; the wish, once granted, must not cost a second fetch.
#[test]
fn a_stale_wish_fetches_nothing() {
    bounded(async {
        let server = JwksServer::start(&all_jwks()).await;
        let verifier = verifier_of(KeySource::Url(server.url.clone()));
        let running = Running::start(&verifier).await;
        verifier.ring().issuers()[0].wanted.notify_one();
        assert_eq!(refetch(&verifier).await, Refetch::Fetched);
        assert_eq!(server.requests(), 2, "one at the start, one asked for");
        running.stop().await;
    });
}

/// A flood of invented `kid`s.
#[test]
fn a_flood_costs_one_fetch_a_second() {
    bounded(async {
        let server = JwksServer::start(&all_jwks()).await;
        let verifier = verifier_of(KeySource::Url(server.url.clone()));
        let begun = crate::clock::now();
        let running = Running::start(&verifier).await;
        let mut asked = 0_u64;
        while server.requests() < 3 {
            let token = sign(Algorithm::EdDsa, &format!("kid-{asked}"), &claims());
            let issuer = verifier.verify(&token, NOW).unwrap_err().refetch().unwrap();
            verifier.ring().refetch(issuer).await;
            asked += 1;
            tokio::task::yield_now().await;
        }
        // Three fetches began, the second and third each at least a second after the one before.
        assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(verifier.ring().status()[0].limited, asked - 2);
        running.stop().await;
    });
}

#[test]
fn a_failed_refetch_keeps_the_last_good_keys() {
    bounded(async {
        let server = JwksServer::start(&all_jwks()).await;
        let verifier = verifier_of(KeySource::Url(server.url.clone()));
        let running = Running::start(&verifier).await;
        let version = verifier.ring().version();
        let token = sign(Algorithm::EdDsa, "ed", &claims());
        let bad: [(StatusCode, Vec<u8>); 5] = [
            (StatusCode::INTERNAL_SERVER_ERROR, document(&[])),
            (StatusCode::FOUND, document(&[])),
            (StatusCode::OK, b"<html>maintenance</html>".to_vec()),
            (StatusCode::OK, vec![b' '; MAX_JWKS_BYTES + 1]),
            (StatusCode::OK, br#"{"keys":[],"keys":[]}"#.to_vec()),
        ];
        for (n, (status, body)) in bad.into_iter().enumerate() {
            server.serve(status, body);
            // The refresher's own retry after a failure may come first; either way a fetch fails and nothing changes.
            let failures = n as u64 + 1;
            while verifier.ring().status()[0].failed < failures {
                verifier.ring().refetch(0).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(verifier.ring().version(), version, "{status}");
            assert!(verifier.verify(&token, NOW).is_ok(), "{status}");
        }
        // An honest empty set is no failure: everything is withdrawn.
        server.serve(StatusCode::OK, document(&[]));
        while verifier.ring().version() == version {
            verifier.ring().refetch(0).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(verifier.verify(&token, NOW).is_err());
        running.stop().await;
    });
}

#[test]
fn an_issuer_that_comes_up_late() {
    bounded(async {
        let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = holder.local_addr().unwrap();
        let verifier = verifier_of(KeySource::Url(format!("http://{address}/jwks")));
        drop(holder);
        let running = Running::start(&verifier).await;
        let token = sign(Algorithm::EdDsa, "ed", &claims());
        assert_eq!(verifier.verify(&token, NOW), Err(TokenFault::KeysUnavailable { issuer_index: 0 }));
        assert!(verifier.ring().status()[0].failed >= 1);
        // Nobody asks: the refresher's own retry finds it.
        let server = JwksServer::start_on(address, &all_jwks()).await;
        while verifier.verify(&token, NOW).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(server.requests(), 1);
        running.stop().await;
    });
}

#[test]
fn nobody_waits_for_a_refresher_that_is_gone() {
    bounded(async {
        let server = JwksServer::start(&all_jwks()).await;
        let verifier = Arc::new(verifier_of(KeySource::Url(server.url.clone())));
        assert_eq!(verifier.ring().refetch(0).await, Refetch::Unattended);
        assert_eq!(verifier.ring().refetch(7).await, Refetch::Unattended);
        let running = Running::start(&verifier).await;
        server.hold();
        let waiting = tokio::spawn({
            let verifier = Arc::clone(&verifier);
            async move { refetch(&verifier).await }
        });
        while server.requests() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running.stop().await;
        assert_eq!(waiting.await.unwrap(), Refetch::Failed);
        assert_eq!(verifier.ring().refetch(0).await, Refetch::Unattended);
    });
}

#[test]
fn keys_from_a_file() {
    bounded(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        std::fs::write(&path, document(&[ed_jwk("one")])).unwrap();
        let verifier = verifier_of(KeySource::File(path.clone()));
        let refresher = KeyRefresher::new(Arc::clone(verifier.ring()), &options()).unwrap();
        assert!(refresher.load_once().await.is_empty());
        assert!(verifier.verify(&sign(Algorithm::EdDsa, "one", &claims()), NOW).is_ok());

        std::fs::write(&path, vec![b' '; MAX_JWKS_BYTES + 1]).unwrap();
        let faults = refresher.load_once().await;
        assert!(matches!(faults[..], [(0, FetchFault::Document(JwksFault::TooLarge))]), "{faults:?}");
        std::fs::remove_file(&path).unwrap();
        let faults = refresher.load_once().await;
        assert!(matches!(faults[..], [(0, FetchFault::File(_))]), "{faults:?}");
        assert!(verifier.verify(&sign(Algorithm::EdDsa, "one", &claims()), NOW).is_ok());
    });
}

/// A self-made authority is trusted when configured, and only then.
#[test]
fn https_with_an_own_authority() {
    bounded(async {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
        use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

        let mut ca = CertificateParams::new(vec![]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();

        let dir = tempfile::tempdir().unwrap();
        let ca_file = dir.path().join("ca.pem");
        std::fs::write(&ca_file, ca.pem()).unwrap();

        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let body = document(&[ed_jwk("ed")]);
                let service = service_fn(move |_| {
                    let body = body.clone();
                    async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body)))) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });

        let verifier = verifier_of(KeySource::Url(format!("https://localhost:{port}/jwks")));
        let load = async |ca_file: Option<std::path::PathBuf>| {
            let options = RefreshOptions { ca_file, ..options() };
            KeyRefresher::new(Arc::clone(verifier.ring()), &options).unwrap().load_once().await
        };
        assert!(matches!(load(None).await[..], [(0, FetchFault::Request(_))]));
        assert!(load(Some(ca_file.clone())).await.is_empty());
        assert!(verifier.verify(&sign(Algorithm::EdDsa, "ed", &claims()), NOW).is_ok());

        std::fs::write(&ca_file, "nothing here").unwrap();
        let options = RefreshOptions { ca_file: Some(ca_file), ..options() };
        let refused = KeyRefresher::new(Arc::clone(verifier.ring()), &options);
        assert!(matches!(refused.err(), Some(FetchSetupFault::CaFile { .. })));
        task.abort();
    });
}

#[test]
fn plain_http_is_for_loopback() {
    use super::super::fetch::is_plain_remote;
    for (url, remote) in [
        ("http://127.0.0.1/jwks", false),
        ("http://127.3.0.1:80/jwks", false),
        ("http://[::1]:80/jwks", false),
        ("http://localhost:80/jwks", false),
        ("https://auth.acme.com/jwks", false),
        ("http://auth.acme.com/jwks", true),
        ("http://10.0.0.1/jwks", true),
        ("http://localhost.evil.example/jwks", true),
    ] {
        assert_eq!(is_plain_remote(url), remote, "{url}");
    }
}
