use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;

const NAME: &str = "api.acme.example";
const BODY: &[u8] = b"0123456789";

/// A server on a thread of its own that lives as long as the test's process.
struct Server {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    /// What HTTP/2 requests carried, and how many connections there were.
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    connections: usize,
    requests: Vec<HeaderMap>,
}

impl Server {
    fn start(alpn: &'static [u8], status: StatusCode) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let made = CertificateParams::new(vec![NAME.to_owned()])
            .and_then(|params| params.self_signed(&pair))
            .expect("a certificate");
        let certificate = made.der().clone();
        let key = PrivateKeyDer::try_from(pair.serialize_der()).expect("PKCS#8");
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("TLS 1.3")
                .with_no_client_auth()
                .with_single_cert(vec![certificate.clone()], key)
                .expect("a server's configuration");
        config.alpn_protocols = vec![alpn.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (ready, address) = std::sync::mpsc::sync_channel(1);
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                ready.send(listener.local_addr().expect("its address")).expect("the test waits");
                loop {
                    let (stream, _) = listener.accept().await.expect("a connection");
                    let (acceptor, seen) = (acceptor.clone(), Arc::clone(&shared));
                    tokio::task::spawn_local(async move {
                        // Clients come and go as they like.
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        seen.lock().expect("no panic").connections += 1;
                        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        if is_http2 { http2(stream, &seen, status).await } else { http1(stream).await }
                    });
                }
            });
        });
        Self { address: address.recv().expect("the server starts"), certificate, seen }
    }

    fn secure(&self, protocol: Protocol, trust: Trust) -> Secure {
        Secure::new(&self.certificate, NAME, protocol, trust).expect("a client's configuration")
    }
}

async fn http1(mut stream: TlsStream<tokio::net::TcpStream>) {
    let answer = [HEAD.as_bytes(), b"Content-Length: 10\r\n\r\n", BODY].concat();
    let mut request = [0; 4096];
    while matches!(stream.read(&mut request).await, Ok(n) if n > 0) {
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn http2(stream: TlsStream<tokio::net::TcpStream>, seen: &Mutex<Seen>, status: StatusCode) {
    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
    while let Some(Ok((request, mut answer))) = connection.accept().await {
        assert_eq!(request.uri(), "https://h/x");
        seen.lock().expect("no panic").requests.push(request.headers().clone());
        let head = Response::builder().status(status).body(()).expect("a head");
        let mut body = answer.send_response(head, false).expect("a stream");
        body.send_data(Bytes::from_static(BODY), true).expect("a stream");
    }
}

fn requests() -> Vec<Vec<u8>> {
    (0..3)
        .map(|user| {
            format!(
                "GET /x HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nUser-Agent: Mozilla/5.0 (Macintosh) \
                 \"{{~}}\r\nX-Own: <a|b>\r\nAuthorization: Bearer e30.{user}{user}\r\n\r\n"
            )
            .into_bytes()
        })
        .collect()
}

fn rig() -> Rig {
    Rig::new(Workload::new(requests(), HEAD, BODY)).expect("a rig")
}

#[test]
fn http2_requests_decode_to_what_was_meant_first_and_later() {
    let server = Server::start(b"h2", StatusCode::OK);
    let mut rig = rig();
    let manner = Manner::Http2(server.secure(Protocol::Http2, Trust::Pinned), 4);
    rig.connect(server.address, 2, manner).expect("two connections");
    let tally = drive_until(&mut rig, |tally| tally.requests() > 8);
    assert_eq!(tally.faults(), 0, "{tally:?}");
    rig.rest().expect("rest");
    let seen = server.seen.lock().expect("no panic");
    assert_eq!(seen.connections, 2);
    assert!(seen.requests.len() > 8, "{} requests", seen.requests.len());
    for headers in &seen.requests {
        let field = |name: &str| headers.get(name).map(|value| value.to_str().expect("text"));
        assert_eq!(field("user-agent"), Some("Mozilla/5.0 (Macintosh) \"{~}"));
        assert_eq!(field("x-own"), Some("<a|b>"));
        assert_eq!(headers.len(), 3, "{headers:?}");
    }
    for user in 0..3 {
        let token = format!("Bearer e30.{user}{user}");
        assert!(seen.requests.iter().any(|headers| headers["authorization"] == token), "{token}");
    }
}

#[test]
fn http2_answers_that_are_not_right_are_faults() {
    let server = Server::start(b"h2", StatusCode::UNAUTHORIZED);
    let mut rig = rig();
    let secure = server.secure(Protocol::Http2, Trust::Verified);
    let answer = rig
        .exchange(server.address, &requests()[0], &Manner::Http2(secure.clone(), 1), Duration::from_secs(5))
        .expect("an exchange")
        .answer;
    assert_eq!((answer.status, answer.body.as_slice()), (401, BODY));
    rig.connect(server.address, 1, Manner::Http2(secure.clone(), 2)).expect("a connection");
    let tally = drive_until(&mut rig, |tally| tally.faults_of(Fault::Status) > 0);
    assert_eq!(tally.requests(), 0);

    let server = Server::start(b"h2", StatusCode::OK);
    let mut other = Rig::new(Workload::new(requests(), HEAD, b"0123456780")).expect("a rig");
    let manner = Manner::Http2(server.secure(Protocol::Http2, Trust::Pinned), 2);
    other.connect(server.address, 1, manner).expect("a connection");
    let tally = drive_until(&mut other, |tally| tally.faults_of(Fault::Body) > 0);
    assert_eq!(tally.requests(), 0);
}

#[test]
fn a_new_connection_and_a_full_handshake_for_each_request() {
    let server = Server::start(b"http/1.1", StatusCode::OK);
    let mut rig = rig();
    let secure = server.secure(Protocol::Http1, Trust::Verified);
    rig.connect(server.address, 2, Manner::Handshakes(secure)).expect("two connections");
    let tally = drive_until(&mut rig, |tally| tally.requests() > 2);
    rig.rest().expect("rest");
    assert_eq!(tally.faults(), 0, "{tally:?}");
    let connections = server.seen.lock().expect("no panic").connections as u64;
    assert!(connections >= tally.requests(), "{connections} connections, {} requests", tally.requests());
}

#[test]
fn kept_connections_over_tls() {
    let server = Server::start(b"http/1.1", StatusCode::OK);
    let mut rig = rig();
    let manner = Manner::Tls(server.secure(Protocol::Http1, Trust::Pinned));
    rig.connect(server.address, 2, manner).expect("two connections");
    let tally = drive_until(&mut rig, |tally| tally.requests() > 2);
    assert_eq!(tally.faults(), 0, "{tally:?}");
    assert_eq!(server.seen.lock().expect("no panic").connections, 2);
}

#[test]
fn neither_another_protocol_nor_another_certificate_will_do() {
    let server = Server::start(b"http/1.1", StatusCode::OK);
    let other = Server::start(b"http/1.1", StatusCode::OK);
    let mut rig = rig();
    let strangers = [
        server.secure(Protocol::Http2, Trust::Pinned),
        other.secure(Protocol::Http1, Trust::Pinned),
        other.secure(Protocol::Http1, Trust::Verified),
    ];
    for secure in strangers {
        let refused =
            rig.exchange(server.address, &requests()[0], &Manner::Tls(secure), Duration::from_secs(5));
        assert!(refused.is_err(), "{refused:?}");
    }
    let right = Manner::Tls(server.secure(Protocol::Http1, Trust::Verified));
    rig.exchange(server.address, &requests()[0], &right, Duration::from_secs(5)).expect("an exchange");
}
