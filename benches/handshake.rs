//! What a TLS handshake costs the gateway's side, in memory and without the client's part: the client's messages are made
//! before the clock starts.
//!
//! `hello` takes a `ClientHello` and gives the server's flight, with its key share and, when the handshake is full, its
//! signature; `finish_up` takes the client's last flight and gives the tickets. Together they are the handshake.
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use divan::Bencher;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use residency::tls::{
    CertificateSource, CertificateStore, DownstreamOffer, downstream_config, handshake_facts,
};
use rustls::crypto::aws_lc_rs::kx_group::{X25519, X25519MLKEM768};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

#[global_allocator]
static ALLOCATIONS: divan::AllocProfiler = divan::AllocProfiler::system();

const NAME: &str = "api.example.test";

fn main() {
    divan::main();
}

/// One kind of client at a gateway.
#[derive(Debug, Clone, Copy)]
enum Case {
    EcdsaX25519,
    EcdsaHybrid,
    RsaX25519,
    Resumed,
    ResumedHybrid,
    Tls12Ecdsa,
    Tls12Resumed,
}

const CASES: [Case; 7] = [
    Case::EcdsaX25519,
    Case::EcdsaHybrid,
    Case::RsaX25519,
    Case::Resumed,
    Case::ResumedHybrid,
    Case::Tls12Ecdsa,
    Case::Tls12Resumed,
];

impl Case {
    const fn is_rsa(self) -> bool {
        matches!(self, Self::RsaX25519)
    }

    const fn is_hybrid(self) -> bool {
        matches!(self, Self::EcdsaHybrid | Self::ResumedHybrid)
    }

    const fn is_resumed(self) -> bool {
        matches!(self, Self::Resumed | Self::ResumedHybrid | Self::Tls12Resumed)
    }

    const fn version(self) -> &'static SupportedProtocolVersion {
        if matches!(self, Self::Tls12Ecdsa | Self::Tls12Resumed) { &TLS12 } else { &TLS13 }
    }
}

struct Scene {
    case: Case,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Scene {
    fn new(case: Case) -> Self {
        const BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = write(directory.path(), case.is_rsa());
        let source = CertificateSource {
            certificate: directory.path().join("chain.pem"),
            key: directory.path().join("key.pem"),
            names: Vec::new(),
        };
        let store = Arc::new(CertificateStore::load(vec![source], false).expect("a certificate and its key"));
        let offer = DownstreamOffer { alpn: DownstreamOffer::protocols(true), versions: BOTH };
        let server = downstream_config(store, &offer, None).expect("a configuration");
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        // As browsers do: the hybrid group first, and a share for X25519 beside it.
        provider.kx_groups = if case.is_hybrid() { vec![X25519MLKEM768, X25519] } else { vec![X25519] };
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("a certificate");
        let client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[case.version()])
            .expect("the provider has it")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { case, server, client: Arc::new(client) }
    }

    /// A client that has sent its hello, which is resuming if the case is.
    fn client(&self) -> (ClientConnection, Vec<u8>) {
        if self.case.is_resumed() {
            let (mut client, hello) = self.dial();
            let (mut server, flight) = answer(&self.server, &hello);
            let last = turn(&mut client, &flight);
            let tickets = finish(&mut server, &last);
            turn(&mut client, &tickets);
        }
        self.dial()
    }

    fn dial(&self) -> (ClientConnection, Vec<u8>) {
        let name = ServerName::try_from(NAME).expect("a name");
        let mut client = ClientConnection::new(Arc::clone(&self.client), name).expect("a client");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("memory");
        (client, hello)
    }

    /// A server that waits for the client's last flight, and that.
    fn midway(&self) -> (ServerConnection, Vec<u8>) {
        let (mut client, hello) = self.client();
        let (server, flight) = answer(&self.server, &hello);
        let last = turn(&mut client, &flight);
        (server, last)
    }
}

fn write(directory: &Path, is_rsa: bool) -> CertificateDer<'static> {
    let kind = if is_rsa { &PKCS_RSA_SHA256 } else { &PKCS_ECDSA_P256_SHA256 };
    let key = KeyPair::generate_for(kind).expect("a key");
    let parameters = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
    let pem = parameters.self_signed(&key).expect("a certificate").pem();
    std::fs::write(directory.join("chain.pem"), &pem).expect("a writable temporary directory");
    std::fs::write(directory.join("key.pem"), key.serialize_pem()).expect("a writable temporary directory");
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

/// A new connection's answer to a hello.
fn answer(config: &Arc<ServerConfig>, hello: &[u8]) -> (ServerConnection, Vec<u8>) {
    let mut server = ServerConnection::new(Arc::clone(config)).expect("a server");
    let flight = finish(&mut server, hello);
    (server, flight)
}

fn finish(server: &mut ServerConnection, mut bytes: &[u8]) -> Vec<u8> {
    let mut flight = Vec::new();
    while !bytes.is_empty() {
        server.read_tls(&mut bytes).expect("memory");
        server.process_new_packets().expect("a client of ours");
    }
    while server.wants_write() {
        server.write_tls(&mut flight).expect("memory");
    }
    flight
}

fn turn(client: &mut ClientConnection, mut bytes: &[u8]) -> Vec<u8> {
    let mut flight = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).expect("memory");
        client.process_new_packets().expect("a server of ours");
    }
    while client.wants_write() {
        client.write_tls(&mut flight).expect("memory");
    }
    flight
}

#[divan::bench(args = CASES)]
fn hello(bencher: Bencher, case: Case) {
    let scene = Scene::new(case);
    bencher
        .with_inputs(|| scene.client().1)
        .bench_local_values(|hello| answer(black_box(&scene.server), &hello));
}

#[divan::bench(args = CASES)]
fn finish_up(bencher: Bencher, case: Case) {
    let scene = Scene::new(case);
    let (mut server, last) = scene.midway();
    finish(&mut server, &last);
    assert_eq!(handshake_facts(&server).is_resumed, case.is_resumed());
    assert_eq!(server.handshake_kind() == Some(HandshakeKind::Full), !case.is_resumed());
    bencher.with_inputs(|| scene.midway()).bench_local_values(|(mut server, last)| {
        let tickets = finish(&mut server, black_box(&last));
        (server, tickets)
    });
}
