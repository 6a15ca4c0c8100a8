//! Versions, protocols, and sessions that are resumed: on every worker, by both versions, after a reload.

use std::collections::BTreeSet;

use rustls::{NamedGroup, ServerConfig, crypto::aws_lc_rs::kx_group};
use tempfile::TempDir;

use super::*;

type Protocol = &'static [u8];

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

struct Scene {
    directory: TempDir,
    certificate: CertificateDer<'static>,
    store: Arc<CertificateStore>,
    server: Arc<ServerConfig>,
}

impl Scene {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let certificate = write_pair(directory.path());
        let store = Arc::new(store(directory.path()).unwrap());
        let server = serve(&store);
        Self { directory, certificate, store, server }
    }

    fn offering(&self, offer: &DownstreamOffer) -> Arc<ServerConfig> {
        downstream_config(Arc::clone(&self.store), offer, Some(&self.server)).unwrap()
    }
}

/// Whether the next handshake resumes, as the server sees it; the version is what the client offers.
fn resumes(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    version: &SupportedProtocolVersion,
) -> bool {
    let (_, connection) = connect(client, server).unwrap();
    let facts = handshake_facts(&connection);
    assert_eq!(facts.is_tls13, version.version == rustls::ProtocolVersion::TLSv1_3);
    facts.is_resumed
}

#[test]
fn both_versions_resume_by_ticket_and_go_on_to() {
    let scene = Scene::new();
    // With nothing kept here, tickets are all there is.
    let mut server = ServerConfig::clone(&scene.server);
    server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    let server = Arc::new(server);
    for version in VERSIONS {
        let client = client(&scene.certificate, &[version]);
        assert!(!resumes(&client, &server, version), "the first one has nothing to resume");
        for _ in 0..5 {
            assert!(resumes(&client, &server, version), "{version:?}");
        }
    }
}

#[test]
fn a_session_is_resumed_by_any_thread() {
    let scene = Scene::new();
    for version in VERSIONS {
        let client = client(&scene.certificate, &[version]);
        assert!(!resumes(&client, &scene.server, version));
        for _ in 0..4 {
            let (client, server) = (Arc::clone(&client), Arc::clone(&scene.server));
            let worker = std::thread::spawn(move || resumes(&client, &server, version));
            assert!(worker.join().unwrap(), "{version:?}");
        }
    }
}

#[test]
fn tickets_outlive_a_reload_and_a_change_of_the_configuration() {
    for version in VERSIONS {
        let scene = Scene::new();
        let client = client(&scene.certificate, &[version]);
        assert!(!resumes(&client, &scene.server, version));
        write_pair(scene.directory.path());
        assert!(scene.store.reload().unwrap());
        // Nothing is shown that this client would have to trust.
        assert!(resumes(&client, &scene.server, version), "{version:?}");
        let plain = DownstreamOffer { alpn: DownstreamOffer::protocols(false), ..OFFER };
        assert!(resumes(&client, &scene.offering(&plain), version), "{version:?}");
        // A gateway that never saw it shakes hands in full, with a certificate this client doesn't know.
        connect(&client, &serve(&scene.store)).unwrap_err();
    }
}

#[test]
fn the_least_version_is_kept() {
    const SINCE_1_3: &[&SupportedProtocolVersion] = &[&TLS13];
    let scene = Scene::new();
    let old = client(&scene.certificate, &[&TLS12]);
    connect(&old, &scene.server).unwrap();
    let strict = scene.offering(&DownstreamOffer { versions: SINCE_1_3, ..OFFER });
    // Not even with a ticket from before.
    connect(&old, &strict).unwrap_err();
    connect(&client(&scene.certificate, &VERSIONS), &strict).unwrap();
}

#[test]
fn http2_is_offered_first_or_not_at_all() {
    let scene = Scene::new();
    let plain = scene.offering(&DownstreamOffer { alpn: DownstreamOffer::protocols(false), ..OFFER });
    let cases: [(&[Protocol], Option<Protocol>, Option<Protocol>); 3] = [
        (&[HTTP_1_1, HTTP_2], Some(HTTP_2), Some(HTTP_1_1)),
        (&[HTTP_1_1], Some(HTTP_1_1), Some(HTTP_1_1)),
        (&[], None, None),
    ];
    for (offered, with, without) in cases {
        let mut client = ClientConfig::clone(&client(&scene.certificate, &[&TLS13]));
        client.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
        let client = Arc::new(client);
        for (server, wanted) in [(&scene.server, with), (&plain, without)] {
            let (_, connection) = connect(&client, server).unwrap();
            assert_eq!(connection.alpn_protocol(), wanted, "{offered:?}");
        }
    }
    // Nothing in common is a fault (RFC 7301 §3.2), and not a guess.
    let mut other = ClientConfig::clone(&client(&scene.certificate, &[&TLS13]));
    other.alpn_protocols = vec![b"spdy/3".to_vec()];
    connect(&Arc::new(other), &scene.server).unwrap_err();
}

#[test]
fn nothing_is_taken_before_the_handshake_is_complete() {
    let scene = Scene::new();
    assert_eq!(scene.server.max_early_data_size, 0);
    let mut client = ClientConfig::clone(&client(&scene.certificate, &[&TLS13]));
    client.enable_early_data = true;
    let client = Arc::new(client);
    connect(&client, &scene.server).unwrap();
    let mut second = ClientConnection::new(client, ServerName::try_from(NAME).unwrap()).unwrap();
    assert!(second.early_data().is_none(), "the ticket allows none");
}

#[test]
fn the_client_chooses_the_key_exchange() {
    let scene = Scene::new();
    let chosen = |groups: &[&'static dyn rustls::crypto::SupportedKxGroup]| {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.kx_groups = groups.to_vec();
        let mut roots = RootCertStore::empty();
        roots.add(scene.certificate.clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (connection, _) = connect(&Arc::new(client), &scene.server).unwrap();
        connection.negotiated_key_exchange_group().unwrap().name()
    };
    assert_eq!(chosen(&[kx_group::X25519]), NamedGroup::X25519);
    assert_eq!(chosen(&[kx_group::X25519MLKEM768, kx_group::X25519]), NamedGroup::X25519MLKEM768);
    assert_eq!(chosen(&[kx_group::X25519, kx_group::X25519MLKEM768]), NamedGroup::X25519);
    assert_eq!(chosen(&[kx_group::SECP256R1]), NamedGroup::secp256r1);
}

/// Two tickets a handshake, all different, none of them legible: nothing of a session can be read from one.
#[test]
fn tickets_differ_and_hide_what_they_hold() {
    let scene = Scene::new();
    let secret = b"the secret of a session, twice as long as a block";
    let ticketer = &scene.server.ticketer;
    let sealed: Vec<_> = (0..8).map(|_| ticketer.encrypt(secret).unwrap()).collect();
    assert_eq!(sealed.iter().collect::<BTreeSet<_>>().len(), sealed.len());
    for ticket in &sealed {
        assert!(!ticket.windows(8).any(|part| secret.windows(8).any(|plain| part == plain)));
        assert_eq!(ticketer.decrypt(ticket).as_deref(), Some(secret.as_slice()));
        let mut forged = ticket.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(ticketer.decrypt(&forged), None);
        assert_eq!(serve(&scene.store).ticketer.decrypt(ticket), None, "another process has other keys");
    }
    assert_eq!(ticketer.lifetime(), 12 * 60 * 60);
}
