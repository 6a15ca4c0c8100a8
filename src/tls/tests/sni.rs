//! Which certificate a client gets, by the name it asks for and by what it can verify.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm};
use rustls::{
    AlertDescription, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::UnixTime,
};
use tempfile::TempDir;

use super::*;

/// A certificate with these names in a directory of its own.
struct Files(TempDir);

impl Files {
    fn new(names: &[&str], kind: &'static SignatureAlgorithm) -> Self {
        let files = Self(TempDir::new().unwrap());
        files.write(names, kind);
        files
    }

    fn ecdsa(names: &[&str]) -> Self {
        Self::new(names, &PKCS_ECDSA_P256_SHA256)
    }

    fn write(&self, names: &[&str], kind: &'static SignatureAlgorithm) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate_for(kind).unwrap();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        fs::write(self.0.path().join("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.0.path().join("key.pem"), key.serialize_pem()).unwrap();
    }

    fn source(&self, names: &[&str]) -> CertificateSource {
        source(self.0.path(), names)
    }

    fn leaf(&self) -> CertificateDer<'static> {
        pem::certificates(&self.0.path().join("cert.pem")).unwrap().remove(0)
    }
}

/// Believes whatever it is shown: the question is what that is.
#[derive(Debug)]
struct Anyone(Vec<SignatureScheme>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

fn curious(schemes: &[SignatureScheme], version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(schemes.to_vec())))
        .with_no_client_auth();
    Arc::new(config)
}

const ECDSA: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
const RSA: [SignatureScheme; 2] = [SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];

/// What a client that asks for `name` is shown. An address is no name: such a client asks for none.
fn shown(
    store: &Arc<CertificateStore>,
    name: &str,
    client: Arc<ClientConfig>,
) -> Result<CertificateDer<'static>, Error> {
    let (connection, _) = shake(client, ServerName::try_from(name.to_owned()).unwrap(), serve(store))?;
    Ok(connection.peer_certificates().unwrap()[0].clone().into_owned())
}

#[test]
fn exact_names_beat_wildcards_and_what_is_unknown_gets_the_default() {
    let default = Files::ecdsa(&["default.test"]);
    let wildcard = Files::ecdsa(&["*.eu.test", "eu.test"]);
    let exact = Files::ecdsa(&["api.eu.test", "Mixed.Case.TEST"]);
    let explicit = Files::ecdsa(&["ignored.test"]);
    let sources = vec![
        default.source(&[]),
        wildcard.source(&[]),
        exact.source(&[]),
        explicit.source(&["named.test", "*.named.test"]),
    ];
    let lax = Arc::new(CertificateStore::load(sources.clone(), false).unwrap());
    let strict = Arc::new(CertificateStore::load(sources, true).unwrap());
    let table = [
        ("default.test", Some(&default)),
        ("api.eu.test", Some(&exact)),
        ("API.EU.test", Some(&exact)),
        ("mixed.case.test", Some(&exact)),
        ("www.eu.test", Some(&wildcard)),
        ("eu.test", Some(&wildcard)),
        ("a.www.eu.test", None),
        ("b.api.eu.test", None),
        ("named.test", Some(&explicit)),
        ("x.named.test", Some(&explicit)),
        ("ignored.test", None),
        ("test", None),
        ("elsewhere.test", None),
        ("127.0.0.1", None),
    ];
    for (name, expected) in table {
        let client = || curious(&[ECDSA], &TLS13);
        let leaf = shown(&lax, name, client()).unwrap();
        assert!(leaf == expected.unwrap_or(&default).leaf(), "{name}");
        match (shown(&strict, name, client()), expected) {
            (Ok(leaf), Some(files)) => assert!(leaf == files.leaf(), "{name}"),
            (Err(_), None) => {}
            (shown, _) => panic!("{name}: {shown:?}"),
        }
        let sent = name.parse::<std::net::IpAddr>().is_err().then(|| name.to_lowercase());
        assert_eq!(strict.refuses(sent.as_deref()), expected.is_none(), "{name}");
        assert!(!lax.refuses(sent.as_deref()), "{name}");
    }
}

#[test]
fn a_client_gets_the_cheapest_certificate_that_it_can_verify() {
    let ecdsa = Files::ecdsa(&["api.test"]);
    let rsa = Files::new(&["api.test"], &PKCS_RSA_SHA256);
    for sources in [[&ecdsa, &rsa], [&rsa, &ecdsa]] {
        let sources = sources.iter().map(|files| files.source(&[])).collect();
        let store = Arc::new(CertificateStore::load(sources, false).unwrap());
        for version in [&TLS12, &TLS13] {
            let both = [&RSA[..], &[ECDSA]].concat();
            for (schemes, expected) in [(&both[..], &ecdsa), (&[ECDSA][..], &ecdsa), (&RSA[..], &rsa)] {
                let leaf = shown(&store, "api.test", curious(schemes, version)).unwrap();
                assert!(leaf == expected.leaf(), "{version:?} {schemes:?}");
            }
            shown(&store, "api.test", curious(&[SignatureScheme::ED25519], version)).unwrap_err();
        }
    }
}

#[test]
fn a_name_claimed_twice_and_a_certificate_for_nobody_are_faults() {
    let first = Files::ecdsa(&["a.test", "*.b.test"]);
    let fault = |names: &[&str], explicit: &[&str]| {
        let second = Files::ecdsa(names);
        let sources = vec![first.source(&[]), second.source(explicit)];
        let loaded = CertificateStore::load(sources, false);
        let fault = loaded.err().map(|fault| fault.to_string())?;
        assert!(fault.contains(&second.0.path().display().to_string()), "{fault}");
        Some(fault)
    };
    let claimed = fault(&["c.test", "a.test"], &[]).unwrap();
    assert!(
        claimed.contains("`a.test`") && claimed.contains(&first.0.path().display().to_string()),
        "{claimed}"
    );
    assert!(fault(&["*.b.test"], &[]).unwrap().contains("`*.b.test`"));
    assert!(fault(&["c.test"], &["c.test", "a.test"]).unwrap().contains("`a.test`"));
    assert!(fault(&["10.0.0.1"], &[]).unwrap().contains("names no host"));
    assert_eq!(fault(&["a.test"], &["c.test"]), None, "what is written stands for what is in it");
    assert_eq!(fault(&["x.b.test"], &[]), None, "an exact name beside a wildcard");
    // The default is found without a name.
    CertificateStore::load(vec![Files::ecdsa(&["10.0.0.1"]).source(&[])], false).unwrap();
}

#[test]
fn one_bad_file_keeps_all_certificates() {
    let (default, other) = (Files::ecdsa(&["a.test"]), Files::ecdsa(&["b.test"]));
    let store =
        Arc::new(CertificateStore::load(vec![default.source(&[]), other.source(&[])], false).unwrap());
    let before = [default.leaf(), other.leaf()];
    default.write(&["a.test"], &PKCS_ECDSA_P256_SHA256);
    fs::remove_file(other.0.path().join("key.pem")).unwrap();
    store.reload().unwrap_err();
    for (name, expected) in ["a.test", "b.test"].into_iter().zip(before) {
        assert!(shown(&store, name, curious(&[ECDSA], &TLS13)).unwrap() == expected, "{name}");
    }
    // Both, or none: the second one now claims the first one's name.
    other.write(&["a.test"], &PKCS_ECDSA_P256_SHA256);
    assert!(matches!(store.reload(), Err(TlsFault::NameClaimedTwice { .. })));
    other.write(&["b.test", "c.test"], &PKCS_ECDSA_P256_SHA256);
    assert!(store.reload().unwrap());
    for (name, files) in [("a.test", &default), ("b.test", &other), ("c.test", &other)] {
        assert!(shown(&store, name, curious(&[ECDSA], &TLS13)).unwrap() == files.leaf(), "{name}");
    }
}

#[test]
fn an_expired_certificate_is_served_and_its_end_is_told() {
    let files = Files::ecdsa(&["a.test"]);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut parameters = CertificateParams::new(vec!["old.test".to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(2001, 2, 3);
    let old = Files(TempDir::new().unwrap());
    fs::write(old.0.path().join("cert.pem"), parameters.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(old.0.path().join("key.pem"), key.serialize_pem()).unwrap();
    let store = Arc::new(CertificateStore::load(vec![files.source(&[]), old.source(&[])], false).unwrap());
    assert!(shown(&store, "old.test", curious(&[ECDSA], &TLS13)).unwrap() == old.leaf());
    let expiries = store.expiries();
    assert_eq!(expiries[1].1.to_string(), "2001-02-03T00:00:00Z");
    assert_eq!(expiries[1].0, old.0.path().join("cert.pem"));
    assert!(expiries[0].1 > expiries[1].1);
}

#[tokio::test]
async fn a_refusal_says_that_the_name_is_unknown() {
    let files = Files::ecdsa(&["a.test"]);
    for strict in [true, false] {
        let store = Arc::new(CertificateStore::load(vec![files.source(&[])], strict).unwrap());
        for (name, known) in [("a.test", true), ("b.test", false), ("127.0.0.1", false)] {
            for version in [&TLS12, &TLS13] {
                let (near, far) = tokio::io::duplex(64 * 1024);
                let (store, config) = (Arc::clone(&store), serve(&store));
                let server = async move { accept(&store, config, far).await.map(drop) };
                let connector = tokio_rustls::TlsConnector::from(curious(&[ECDSA], version));
                let client = connector.connect(ServerName::try_from(name).unwrap(), near);
                let (accepted, connected) = tokio::join!(server, client);
                assert_eq!(accepted.is_ok(), known || !strict, "{name} {version:?}");
                let Err(error) = connected else {
                    assert!(known || !strict, "{name} {version:?}");
                    continue;
                };
                let alert = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
                assert_eq!(alert, Some(&Error::AlertReceived(AlertDescription::UnrecognisedName)), "{name}");
            }
        }
    }
}

#[test]
fn names_as_the_table_has_them() {
    let good = [
        ("a", "a"),
        ("API.Example.com", "api.example.com"),
        ("*.example.com", "*.example.com"),
        ("*.XN--BCHER-KVA.example", "*.xn--bcher-kva.example"),
        ("a_b.example", "a_b.example"),
    ];
    for (written, name) in good {
        assert_eq!(served_name(written).as_deref(), Some(name), "{written}");
    }
    for bad in [
        "",
        "*",
        "*.",
        "*.com",
        "a.*.com",
        "*a.com",
        "a b",
        "bücher.example",
        "a..b",
        ".a",
        "a.",
        "https://a",
    ] {
        assert_eq!(served_name(bad), None, "{bad}");
    }
}
