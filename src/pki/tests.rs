//! Files made, rotated and misplaced, judged by real handshakes between gateways that hold them.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::SignedDuration;
use serde_json::Value;
use tempfile::TempDir;

use super::{directory::Directory, *};
use crate::tls::{
    Caller, ControlClient, InternalTls, TlsFault,
    handshake::{ping, shake},
};

const US: &str = "us-east";
const EU: &str = "eu-frankfurt";
const SG: &str = "ap-singapore";

fn now() -> Timestamp {
    Timestamp::now()
}

fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

fn names(regions: &[&str]) -> Vec<String> {
    regions.iter().map(|region| (*region).to_owned()).collect()
}

/// A directory with an authority and these regions.
fn made(regions: &[&str]) -> TempDir {
    let directory = TempDir::new().unwrap();
    init::init(directory.path(), &names(regions), now()).unwrap();
    directory
}

/// A gateway's own copy of what it needs.
struct Gateway {
    region: &'static str,
    files: TempDir,
    tls: InternalTls,
}

impl Gateway {
    fn new(source: &Path, region: &'static str) -> Self {
        let files = TempDir::new().unwrap();
        distribute(source, files.path(), region);
        let tls = InternalTls::load(files.path(), region).unwrap();
        Self { region, files, tls }
    }

    fn update(&self, source: &Path) {
        distribute(source, self.files.path(), self.region);
        self.tls.reload().unwrap();
    }

    /// Connects to `peer`, meaning to reach `wanted`; who the peer thinks is calling.
    fn hop(&self, peer: &Self, wanted: &str) -> Result<Option<String>, rustls::Error> {
        let name = InternalTls::server_name(wanted).unwrap();
        let (_, accepted) = shake(self.tls.client_config(), name, peer.tls.server_config())?;
        Ok(Caller::of(&accepted).and_then(|caller| match caller {
            Caller::Gateway(region) => Some(region),
            Caller::Control(_) => None,
        }))
    }
}

fn distribute(source: &Path, target: &Path, region: &str) {
    for name in ["ca.crt".to_owned(), format!("{region}.crt"), format!("{region}.key")] {
        fs::copy(source.join(&name), target.join(&name)).unwrap();
    }
}

fn reaches(from: &Gateway, to: &Gateway) -> bool {
    match from.hop(to, to.region) {
        Ok(caller) => {
            assert_eq!(caller.as_deref(), Some(from.region));
            true
        }
        Err(_) => false,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every file with its content, to show that nothing changed.
fn snapshot(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn problems(directory: &Path, at: Timestamp) -> Vec<String> {
    let mut json = Vec::new();
    let report = status::inspect(directory, at).unwrap();
    report.write_json(&mut json).unwrap();
    let value: Value = serde_json::from_slice(&json).unwrap();
    let mut all: Vec<String> = serde_json::from_value(value["problems"].clone()).unwrap();
    for certificate in value["certificates"].as_array().unwrap() {
        for problem in certificate["problems"].as_array().unwrap() {
            all.push(format!("{}: {}", certificate["file"].as_str().unwrap(), problem.as_str().unwrap()));
        }
    }
    assert_eq!(report.has_problems(), !all.is_empty());
    all
}

#[test]
fn gateways_reach_the_region_they_mean_and_no_other() {
    let source = made(&[US, EU]);
    let (us, eu) = (Gateway::new(source.path(), US), Gateway::new(source.path(), EU));
    assert_eq!(us.hop(&eu, EU).unwrap().as_deref(), Some(US));
    assert_eq!(eu.hop(&us, US).unwrap().as_deref(), Some(EU));
    us.hop(&eu, SG).unwrap_err();
    us.hop(&us, EU).unwrap_err();
}

/// The configuration of a program with the files of `holder`, which meant to reach a gateway of `region`.
fn program(source: &Path, holder: &str) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for root in crate::tls::certificates(&source.join("ca.crt")).unwrap() {
        roots.add(root).unwrap();
    }
    let file = |end: &str| source.join(format!("{holder}.{end}"));
    let pair = crate::tls::certified_key(&file("crt"), &file("key")).unwrap();
    let resolver = rustls::sign::SingleCertAndKey::from(pair);
    let config = rustls::ClientConfig::builder_with_provider(crate::tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(resolver));
    Arc::new(config)
}

/// Who a gateway of `region` takes the caller for.
fn caller(config: Arc<rustls::ClientConfig>, gateway: &Gateway) -> Result<Option<Caller>, rustls::Error> {
    let name = InternalTls::server_name(gateway.region).unwrap();
    shake(config, name, gateway.tls.server_config()).map(|(_, accepted)| Caller::of(&accepted))
}

#[test]
fn a_control_certificate_is_good_at_its_own_region_and_for_no_hop() {
    let source = made(&[US, EU]);
    issue::issue(source.path(), EU, "api", now()).unwrap();
    let (us, eu) = (Gateway::new(source.path(), US), Gateway::new(source.path(), EU));
    let expected = ControlClient { region: EU.to_owned(), name: "api".to_owned() };
    let api = || program(source.path(), "eu-frankfurt.control.api");
    assert_eq!(caller(api(), &eu).unwrap(), Some(Caller::Control(expected.clone())));
    let refused = format!("{:?}", caller(api(), &us).unwrap_err());
    assert!(
        refused.contains("Elsewhere(ControlClient { region: \"eu-frankfurt\", name: \"api\" })"),
        "{refused}"
    );
    assert_eq!(caller(program(source.path(), US), &eu).unwrap(), Some(Caller::Gateway(US.to_owned())));
    // Issued by somebody else's authority, the same name is worth nothing.
    let elsewhere = made(&[EU]);
    issue::issue(elsewhere.path(), EU, "api", now()).unwrap();
    for end in ["crt", "key"] {
        let file = format!("eu-frankfurt.control.api.{end}");
        fs::copy(elsewhere.path().join(&file), source.path().join(&file)).unwrap();
    }
    caller(api(), &eu).unwrap_err();
    // Nor does a program pass for a gateway.
    let stand_in = TempDir::new().unwrap();
    fs::copy(elsewhere.path().join("ca.crt"), stand_in.path().join("ca.crt")).unwrap();
    for end in ["crt", "key"] {
        let file = elsewhere.path().join(format!("eu-frankfurt.control.api.{end}"));
        fs::copy(file, stand_in.path().join(format!("{EU}.{end}"))).unwrap();
    }
    assert!(matches!(InternalTls::load(stand_in.path(), EU), Err(TlsFault::WrongRegion { .. })));
}

#[test]
fn control_certificates_are_issued_once_rotated_with_their_region_and_looked_after() {
    let source = made(&[US, EU]);
    let path = source.path();
    issue::issue(path, EU, "api", now()).unwrap();
    assert!(matches!(issue::issue(path, EU, "api", now()), Err(PkiFault::Exists { .. })));
    assert!(matches!(issue::issue(path, SG, "api", now()), Err(PkiFault::NoSuchRegion { .. })));
    for name in ["", "A", "a.b", "a/b", "-a"] {
        assert!(matches!(issue::issue(path, EU, name, now()), Err(PkiFault::ControlName(_))), "{name}");
    }
    assert_eq!(problems(path, now()), [""; 0]);
    let (certificate, key) =
        (path.join("eu-frankfurt.control.api.crt"), path.join("eu-frankfurt.control.api.key"));
    assert_eq!(mode(&key), 0o600);
    let read = || (fs::read(&certificate).unwrap(), fs::read(&key).unwrap());
    let first = read();
    rotate::reissue(path, &names(&[US]), now()).unwrap();
    assert_eq!(read(), first, "it is another region's");
    rotate::reissue(path, &names(&[EU]), now()).unwrap();
    let second = read();
    assert!(second.0 != first.0 && second.1 != first.1);
    rotate::replace_authority(path, now()).unwrap();
    assert!(read().0 != second.0);
    rotate::retire_old_authority(path).unwrap();
    let eu = Gateway::new(path, EU);
    assert!(matches!(caller(program(path, "eu-frankfurt.control.api"), &eu), Ok(Some(Caller::Control(_)))));
    let late = problems(path, now() + days(400));
    assert!(late.contains(&"eu-frankfurt.control.api.crt: expired".to_owned()), "{late:?}");
    fs::remove_file(&certificate).unwrap();
    let left = problems(path, now());
    assert_eq!(left, ["eu-frankfurt.control.api.key has no eu-frankfurt.control.api.crt"]);
}

#[test]
fn strangers_are_refused_on_both_sides() {
    let (source, elsewhere) = (made(&[US, EU]), made(&[US, EU]));
    let (us, stranger) = (Gateway::new(source.path(), US), Gateway::new(elsewhere.path(), EU));
    assert!(!reaches(&us, &stranger));
    assert!(!reaches(&stranger, &us));

    // One who trusts us but shows nothing.
    let mut roots = rustls::RootCertStore::empty();
    let authority =
        facts::Facts::read_all(&fs::read_to_string(source.path().join("ca.crt")).unwrap()).unwrap();
    roots.add(authority[0].der.clone()).unwrap();
    let nameless = rustls::ClientConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = InternalTls::server_name(US).unwrap();
    shake(Arc::new(nameless), name, us.tls.server_config()).unwrap_err();
}

/// Certificates that our own authority never makes, but that its key could: each names a region, and more.
#[test]
fn a_certificate_for_more_than_one_region_is_good_for_none() {
    let source = made(&[US, EU]);
    let us = Gateway::new(source.path(), US);
    let read = |name: &str| fs::read_to_string(source.path().join(name)).unwrap();
    let key = rcgen::KeyPair::from_pem(&read("ca.key")).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.crt"), key).unwrap();
    let under = |label: &str| format!("{label}.gateway.residency.internal");
    for (names, accepted) in [
        (vec![under(EU)], true),
        (vec![under(EU), under(US)], false),
        (vec![under("*")], false),
        (vec![under(EU), under("*")], false),
    ] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(names.clone()).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let der = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = crate::tls::provider();
        let pair =
            rustls::sign::CertifiedKey::from_der(vec![certificate.der().clone()], der.into(), &provider)
                .unwrap();
        let pair = Arc::new(rustls::sign::SingleCertAndKey::from(pair));

        let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&pair) as _);
        let reached = shake(us.tls.client_config(), InternalTls::server_name(EU).unwrap(), Arc::new(server));
        assert_eq!(reached.is_ok(), accepted, "as a server: {names:?}");

        let mut roots = rustls::RootCertStore::empty();
        roots.add(facts::Facts::read_all(&read("ca.crt")).unwrap()[0].der.clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(pair);
        let caller = shake(Arc::new(client), InternalTls::server_name(US).unwrap(), us.tls.server_config());
        assert_eq!(caller.is_ok(), accepted, "as a client: {names:?}");
    }
}

#[test]
fn no_session_is_resumed() {
    let source = made(&[US, EU]);
    let (us, eu) = (Gateway::new(source.path(), US), Gateway::new(source.path(), EU));
    let config = us.tls.client_config();
    for _ in 0..3 {
        let name = InternalTls::server_name(EU).unwrap();
        let (client, _) = shake(Arc::clone(&config), name, eu.tls.server_config()).unwrap();
        assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused_and_the_old_ones_stay() {
    let (source, elsewhere) = (made(&[US, EU]), made(&[US, EU]));
    let (us, eu) = (Gateway::new(source.path(), US), Gateway::new(source.path(), EU));
    let own = us.files.path();

    fs::copy(source.path().join("eu-frankfurt.key"), own.join("us-east.key")).unwrap();
    assert!(matches!(us.tls.reload(), Err(TlsFault::KeyMismatch { .. })));
    fs::copy(source.path().join("eu-frankfurt.crt"), own.join("us-east.crt")).unwrap();
    assert!(matches!(us.tls.reload(), Err(TlsFault::WrongRegion { .. })));
    distribute(elsewhere.path(), own, US);
    fs::copy(source.path().join("ca.crt"), own.join("ca.crt")).unwrap();
    assert!(matches!(us.tls.reload(), Err(TlsFault::NotOurs { .. })));
    fs::remove_file(own.join("ca.crt")).unwrap();
    assert!(matches!(us.tls.reload(), Err(TlsFault::Unreadable { .. })));

    assert!(reaches(&us, &eu) && reaches(&eu, &us), "the identity loaded first still serves");
    assert!(matches!(InternalTls::load(own, "../us-east"), Err(TlsFault::RegionName(_))));
}

#[test]
fn a_configuration_that_is_kept_shows_and_believes_what_was_read_last() {
    let (source, elsewhere) = (made(&[US, EU]), made(&[US, EU]));
    let (us, eu) = (Gateway::new(source.path(), US), Gateway::new(source.path(), EU));
    let kept = us.tls.client_config();
    let reaches = || {
        let name = InternalTls::server_name(EU).unwrap();
        shake(Arc::clone(&kept), name, eu.tls.server_config()).is_ok()
    };
    assert!(reaches());
    distribute(elsewhere.path(), us.files.path(), US);
    us.tls.reload().unwrap();
    assert!(!reaches(), "neither believes the other");
    distribute(elsewhere.path(), eu.files.path(), EU);
    eu.tls.reload().unwrap();
    assert!(reaches());
}

#[test]
fn the_key_exchange_between_gateways_is_hybrid() {
    let source = made(&[US, EU]);
    let (us, eu) = (Gateway::new(source.path(), US), Gateway::new(source.path(), EU));
    let name = InternalTls::server_name(EU).unwrap();
    let (client, _) = shake(us.tls.client_config(), name, eu.tls.server_config()).unwrap();
    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    // One round trip: a share for it was sent at once.
    assert_eq!(client.handshake_kind(), Some(rustls::HandshakeKind::Full));
}

#[test]
fn an_expired_certificate_loads_but_peers_refuse_it() {
    let source = TempDir::new().unwrap();
    init::init(source.path(), &names(&[US]), now() - days(400)).unwrap();
    init::init(source.path(), &names(&[EU]), now()).unwrap();
    let (us, eu) = (Gateway::new(source.path(), US), Gateway::new(source.path(), EU));
    assert!(us.tls.not_after() < now());
    assert!(!reaches(&us, &eu) && !reaches(&eu, &us));
    assert_eq!(problems(source.path(), now()), ["us-east.crt: expired"]);
}

#[test]
fn init_never_overwrites_and_adds_regions_later() {
    let source = made(&[US]);
    let before = snapshot(source.path());
    let fault = init::init(source.path(), &names(&[EU, US]), now()).unwrap_err();
    assert!(matches!(fault, PkiFault::Exists { .. }), "{fault}");
    for bad in ["ca", "US", "../x", ""] {
        assert!(matches!(init::init(source.path(), &names(&[bad]), now()), Err(PkiFault::RegionName(_))));
    }
    assert_eq!(snapshot(source.path()), before);

    let account = init::init(source.path(), &names(&[EU]), now()).unwrap();
    assert!(account.0[0].contains("authority kept"), "{account:?}");
    let (us, eu) = (Gateway::new(source.path(), US), Gateway::new(source.path(), EU));
    assert!(reaches(&us, &eu) && reaches(&eu, &us));
    assert!(snapshot(source.path()).iter().filter(|file| before.contains(file)).count() == before.len());
}

#[test]
fn half_an_authority_is_refused() {
    let source = made(&[US]);
    fs::rename(source.path().join("ca.key"), source.path().join("elsewhere")).unwrap();
    let fault = init::init(source.path(), &names(&[EU]), now()).unwrap_err();
    assert!(matches!(fault, PkiFault::NoAuthority { missing: "ca.key", .. }), "{fault}");
    fs::copy(source.path().join("us-east.key"), source.path().join("ca.key")).unwrap();
    let fault = init::init(source.path(), &names(&[EU]), now()).unwrap_err();
    assert!(matches!(fault, PkiFault::Unusable { .. }), "{fault}");
}

#[test]
fn rotation_changes_keys_and_keeps_everyone_talking() {
    let source = made(&[US, EU, SG]);
    let gateways = [US, EU, SG].map(|region| Gateway::new(source.path(), region));
    let before = snapshot(source.path());
    rotate::reissue(source.path(), &names(&[US, EU]), now()).unwrap();
    for (path, content) in before {
        let rotated = ["us-east.", "eu-frankfurt."].iter().any(|file| path.to_str().unwrap().contains(file));
        assert_eq!(fs::read(&path).unwrap() != content, rotated, "{path:?}");
    }
    gateways[0].update(source.path());
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        assert!(reaches(&gateways[from], &gateways[to]));
    }
    let fault = rotate::reissue(source.path(), &names(&["moon"]), now()).unwrap_err();
    assert!(matches!(fault, PkiFault::NoSuchRegion { .. }), "{fault}");
}

/// Every gateway updated one at a time, in every order, and at every moment everyone reaches everyone.
#[test]
fn the_authority_is_replaced_without_a_moment_of_refusal() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let source = made(&[US, EU, SG]);
        let gateways = [US, EU, SG].map(|region| Gateway::new(source.path(), region));
        let everyone_reaches_everyone = |when: &str| {
            for (from, to) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
                assert!(reaches(&gateways[from], &gateways[to]), "{when}: {from} to {to}, order {order:?}");
            }
        };
        let name = InternalTls::server_name(EU).unwrap();
        let (mut open, mut accepted) =
            shake(gateways[0].tls.client_config(), name, gateways[1].tls.server_config()).unwrap();
        let former = Gateway::new(source.path(), US);

        assert!(matches!(rotate::retire_old_authority(source.path()), Err(PkiFault::NothingToRetire)));
        rotate::replace_authority(source.path(), now()).unwrap();
        assert!(matches!(rotate::replace_authority(source.path(), now()), Err(PkiFault::RotationUnderWay)));
        assert_eq!(problems(source.path(), now()), [""; 0]);
        for index in order {
            gateways[index].update(source.path());
            everyone_reaches_everyone("step one");
        }
        // A region added, and one rotated, while both authorities are trusted.
        init::init(source.path(), &names(&["eu-nuremberg"]), now()).unwrap();
        rotate::reissue(source.path(), &names(&[SG]), now()).unwrap();
        let added = Gateway::new(source.path(), "eu-nuremberg");
        assert!(reaches(&former, &added) && reaches(&added, &former), "files of before still serve");

        rotate::retire_old_authority(source.path()).unwrap();
        assert_eq!(problems(source.path(), now()), [""; 0]);
        assert!(!source.path().join(authority::BRIDGE).exists());
        for index in order {
            gateways[index].update(source.path());
            everyone_reaches_everyone("step two");
        }
        assert!(!reaches(&former, &gateways[1]), "the old authority's certificates are worth nothing now");
        ping(&mut open, &mut accepted);

        // And once more from the start.
        rotate::replace_authority(source.path(), now()).unwrap();
        gateways[0].update(source.path());
        everyone_reaches_everyone("the next replacement");
    }
}

#[test]
fn the_old_authority_is_not_retired_while_it_is_needed() {
    let source = made(&[US]);
    let old = snapshot(source.path());
    rotate::replace_authority(source.path(), now()).unwrap();
    for (path, content) in old.iter().filter(|(path, _)| path.to_str().unwrap().contains("us-east")) {
        fs::write(path, content).unwrap();
    }
    let fault = rotate::retire_old_authority(source.path()).unwrap_err();
    assert!(matches!(fault, PkiFault::StillInUse { .. }), "{fault}");
    rotate::reissue(source.path(), &[], now()).unwrap();
    rotate::retire_old_authority(source.path()).unwrap();
}

#[test]
fn a_committed_change_survives_a_crash_and_a_pending_one_leaves_no_trace() {
    let (source, other) = (made(&[US, EU]), made(&[US, EU]));
    let before = snapshot(source.path());
    let stage = |name: &str| {
        let staged = source.path().join(name);
        fs::create_dir(&staged).unwrap();
        for (path, _) in snapshot(other.path()) {
            fs::copy(&path, staged.join(path.file_name().unwrap())).unwrap();
        }
    };
    stage(".pending");
    drop(Directory::open(source.path()).unwrap());
    assert_eq!(snapshot(source.path()), before);

    stage(".commit");
    // Interrupted after the first file, too: a pair that doesn't match, until the next command.
    fs::rename(source.path().join(".commit/us-east.key"), source.path().join("us-east.key")).unwrap();
    let found = problems(source.path(), now());
    assert!(found.iter().any(|problem| problem.contains("interrupted")), "{found:?}");
    assert!(found.iter().any(|problem| problem.contains("not this certificate's key")), "{found:?}");
    drop(Directory::open(source.path()).unwrap());
    assert_eq!(problems(source.path(), now()), [""; 0]);
    let contents =
        |files: Vec<(PathBuf, Vec<u8>)>| files.into_iter().map(|(_, content)| content).collect::<Vec<_>>();
    assert_eq!(contents(snapshot(source.path())), contents(snapshot(other.path())));
}

#[test]
fn keys_are_private_and_keep_their_owner() {
    let source = TempDir::new().unwrap();
    let directory = source.path().join("deep/pki");
    init::init(&directory, &names(&[US]), now()).unwrap();
    assert_eq!(mode(&directory), 0o700);
    let (key, certificate) = (directory.join("us-east.key"), directory.join("us-east.crt"));
    assert_eq!((mode(&key), mode(&certificate), mode(&directory.join("ca.key"))), (0o600, 0o644, 0o600));

    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let found = problems(&directory, now());
    assert!(
        matches!(&found[..], [one] if one.contains("us-east.key is open to others (mode 0644)")),
        "{found:?}"
    );
    let is_root = fs::metadata(&key).unwrap().uid() == 0;
    if is_root {
        std::os::unix::fs::chown(&key, Some(65_534), Some(65_534)).unwrap();
    }
    let before = fs::metadata(&key).unwrap();
    rotate::reissue(&directory, &[], now()).unwrap();
    let after = fs::metadata(&key).unwrap();
    assert_ne!(before.ino(), after.ino(), "replaced, not written over");
    assert_eq!((before.uid(), before.gid()), (after.uid(), after.gid()));
    assert_eq!(mode(&key), 0o640);
    assert_eq!(problems(&directory, now()), [""; 0]);
}

#[test]
fn status_finds_what_is_wrong() {
    let source = made(&[US, EU]);
    assert_eq!(problems(source.path(), now()), [""; 0]);
    assert_eq!(
        problems(source.path(), now() + days(370)),
        ["eu-frankfurt.crt: expires soon: `pki rotate`", "us-east.crt: expires soon: `pki rotate`"]
    );
    let late = problems(source.path(), now() + days(3300));
    assert!(late.contains(&"ca.crt: expires soon: `pki rotate --ca`".to_owned()), "{late:?}");
    assert!(late.contains(&"us-east.crt: expired".to_owned()), "{late:?}");
    let early = problems(source.path(), now() - days(1));
    assert!(early.iter().all(|problem| problem.contains("not valid yet")) && early.len() == 3, "{early:?}");

    let path = |name: &str| source.path().join(name);
    fs::copy(path("us-east.crt"), path("eu-frankfurt.crt")).unwrap();
    fs::write(path("moon.key"), "").unwrap();
    fs::set_permissions(path("ca.key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(
        problems(source.path(), now()),
        [
            "ca.key is open to others (mode 0640): chmod 0600",
            "moon.key has no moon.crt",
            "eu-frankfurt.crt: does not name eu-frankfurt.gateway.residency.internal alone",
            "eu-frankfurt.crt: eu-frankfurt.key is not this certificate's key",
        ]
    );
    fs::write(path("us-east.crt"), "garbage").unwrap();
    fs::remove_file(path("eu-frankfurt.key")).unwrap();
    fs::copy(made(&[]).path().join("ca.crt"), path("ca.crt")).unwrap();
    let found = problems(source.path(), now());
    for expected in [
        "ca.key is the key of no certificate in ca.crt",
        "us-east.crt: holds no certificate",
        "eu-frankfurt.crt: issued by no authority in ca.crt",
        "eu-frankfurt.crt: eu-frankfurt.key is missing",
    ] {
        assert!(found.contains(&expected.to_owned()), "{expected}: {found:?}");
    }
}

#[test]
fn a_gateways_share_of_the_files_is_in_order() {
    let source = made(&[US, EU]);
    let gateway = Gateway::new(source.path(), US);
    fs::set_permissions(gateway.files.path().join("us-east.key"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(problems(gateway.files.path(), now()), [""; 0]);
    let fault = rotate::reissue(gateway.files.path(), &[], now()).unwrap_err();
    assert!(matches!(fault, PkiFault::NoAuthority { missing: "ca.key", .. }), "{fault}");
}

#[test]
fn an_authority_near_its_end_cuts_what_it_issues_and_can_be_replaced_until_then() {
    let source = TempDir::new().unwrap();
    init::init(source.path(), &names(&[US]), now() - days(3600)).unwrap();
    rotate::reissue(source.path(), &[], now()).unwrap();
    let gateway = Gateway::new(source.path(), US);
    let ca = facts::Facts::read_all(&fs::read_to_string(source.path().join("ca.crt")).unwrap()).unwrap();
    assert_eq!(gateway.tls.not_after(), ca[0].not_after);
    rotate::replace_authority(source.path(), now()).unwrap();
    let renewed = Gateway::new(source.path(), US);
    assert!(reaches(&gateway, &renewed) && reaches(&renewed, &gateway));

    let expired = TempDir::new().unwrap();
    init::init(expired.path(), &names(&[US]), now() - days(4000)).unwrap();
    assert!(matches!(rotate::reissue(expired.path(), &[], now()), Err(PkiFault::AuthorityExpired(_))));
    assert!(matches!(rotate::replace_authority(expired.path(), now()), Err(PkiFault::AuthorityExpired(_))));
}

#[test]
fn the_command_answers_with_text_and_exit_code() {
    let source = TempDir::new().unwrap();
    let dir = || source.path().to_owned();
    let mut out = Vec::new();
    run(Command::Init { dir: dir(), regions: names(&[US]) }, &mut out).unwrap();
    let code = run(Command::Status { dir: dir(), json: false }, &mut out).unwrap();
    assert_eq!(code, ExitCode::SUCCESS);
    fs::remove_file(source.path().join("us-east.key")).unwrap();
    let code = run(Command::Status { dir: dir(), json: false }, &mut out).unwrap();
    assert_eq!(code, ExitCode::FAILURE);
    let text = String::from_utf8(out).unwrap();
    for expected in [
        "new authority",
        "us-east.gateway.residency.internal",
        "days left",
        "PROBLEM   us-east.key is missing",
    ] {
        assert!(text.contains(expected), "{expected}:\n{text}");
    }
    assert!(!text.contains("PRIVATE"));
}
