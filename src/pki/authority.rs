//! The authority: making it, reading it back, and issuing certificates.
//!
//! ECDSA P-256 throughout. An authority may only issue names below `gateway.residency.internal` (a critical name
//! constraint), so that its key, were it stolen, is good for nothing else that trusts it.

use std::time::Duration;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber, date_time_ymd,
};

use super::{PkiFault, directory::Directory, facts::Facts, holder::Holder};
use crate::domain::hexadecimal::hexadecimal;

pub(super) const BUNDLE: &str = "ca.crt";
pub(super) const KEY: &str = "ca.key";
/// The new authority's certificate signed by the old one, while both are trusted.
pub(super) const BRIDGE: &str = "ca.bridge.crt";

/// Ten years.
const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(3653 * 24);
/// What public authorities allowed a certificate when this was written: a year and a month to renew it in.
const LEAF_LIFE: SignedDuration = SignedDuration::from_hours(397 * 24);
/// Validity starts early, for machines whose clocks run behind.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// An authority that can issue.
pub(super) struct Authority {
    pub(super) certificate: Facts,
    /// Other authorities still trusted: the old one, during a replacement.
    pub(super) others: Vec<Facts>,
    bridge: Option<Facts>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate chain and its key, as PEM.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
    pub(super) not_after: Timestamp,
}

impl Authority {
    /// A new authority, trusted alone. Returns its key as PEM, too.
    pub(super) fn create(now: Timestamp) -> Result<(Self, String), PkiFault> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let pem = key.serialize_pem();
        let params = authority_params(&key, now, now + AUTHORITY_LIFE)?;
        let certificate = reread(&params.self_signed(&key)?.pem())?;
        Ok((Self { certificate, others: Vec::new(), bridge: None, issuer: Issuer::new(params, key) }, pem))
    }

    /// A new authority beside this one, bridged so that whoever trusts only this one accepts what it issues.
    pub(super) fn replace(self, now: Timestamp) -> Result<(Self, String), PkiFault> {
        if self.certificate.not_after <= now {
            return Err(PkiFault::AuthorityExpired(self.certificate.not_after));
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let pem = key.serialize_pem();
        let params = authority_params(&key, now, now + AUTHORITY_LIFE)?;
        let certificate = reread(&params.self_signed(&key)?.pem())?;
        let mut bridge = authority_params(&key, now, self.certificate.not_after.min(now + AUTHORITY_LIFE))?;
        bridge.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let bridge = reread(&bridge.signed_by(&key, &self.issuer)?.pem())?;
        let others = vec![self.certificate];
        Ok((Self { certificate, others, bridge: Some(bridge), issuer: Issuer::new(params, key) }, pem))
    }

    /// The authority of a directory: of those in `ca.crt`, the one whose key is `ca.key`.
    pub(super) fn read(directory: &Directory) -> Result<Self, PkiFault> {
        let missing = |missing| PkiFault::NoAuthority { directory: directory.path().to_owned(), missing };
        let unusable = |name: &str, reason| PkiFault::Unusable { path: directory.file(name), reason };
        let bundle = directory.read(BUNDLE)?.ok_or_else(|| missing(BUNDLE))?;
        let mut trusted = Facts::read_all(&bundle).map_err(|reason| unusable(BUNDLE, reason))?;
        let key = directory.read(KEY)?.ok_or_else(|| missing(KEY))?;
        let key = KeyPair::from_pem(&key).map_err(|error| unusable(KEY, error.to_string()))?;
        let own = trusted
            .iter()
            .position(|certificate| certificate.public_key == key.der_bytes())
            .ok_or_else(|| unusable(KEY, "is the key of no certificate in ca.crt".to_owned()))?;
        let certificate = trusted.remove(own);
        let bridge = match directory.read(BRIDGE)? {
            Some(pem) => Facts::read_all(&pem).map_err(|reason| unusable(BRIDGE, reason))?.into_iter().next(),
            None => None,
        };
        // A bridge left over from an earlier replacement leads nowhere.
        let bridge = bridge.filter(|bridge| {
            bridge.public_key == certificate.public_key && trusted.iter().any(|old| bridge.issued_by(old))
        });
        let issuer = Issuer::from_ca_cert_der(&certificate.der, key)?;
        Ok(Self { certificate, others: trusted, bridge, issuer })
    }

    /// A certificate with a key of its own; valid no longer than the authority.
    pub(super) fn issue(&self, holder: &Holder, now: Timestamp) -> Result<Issued, PkiFault> {
        let not_after = (now + LEAF_LIFE).min(self.certificate.not_after);
        if not_after <= now {
            return Err(PkiFault::AuthorityExpired(self.certificate.not_after));
        }
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(vec![holder.name()])?;
        valid(&mut params, now, not_after);
        params.serial_number = Some(serial_number()?);
        params.distinguished_name.push(DnType::CommonName, holder.common_name());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = holder.usages();
        let leaf = reread(&params.signed_by(&key, &self.issuer)?.pem())?;
        Ok(Issued { chain: self.chain(&leaf), key: key.serialize_pem(), not_after })
    }

    /// The PEM text to serve with `leaf`.
    pub(super) fn chain(&self, leaf: &Facts) -> String {
        leaf.pem() + &self.bridge.as_ref().map(Facts::pem).unwrap_or_default()
    }

    /// Every authority to be trusted, the issuing one first.
    pub(super) fn bundle(&self) -> String {
        std::iter::once(&self.certificate).chain(&self.others).map(Facts::pem).collect()
    }

    pub(super) fn bridge(&self) -> Option<String> {
        self.bridge.as_ref().map(Facts::pem)
    }

    /// Forgets the old authority; returns what was forgotten.
    pub(super) fn retire_others(&mut self) -> Vec<Facts> {
        self.bridge = None;
        std::mem::take(&mut self.others)
    }
}

fn authority_params(
    key: &KeyPair,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, PkiFault> {
    let mut params = CertificateParams::new(Vec::new())?;
    valid(&mut params, now, not_after);
    params.serial_number = Some(serial_number()?);
    // A name of its own for each, or path building could confuse the old authority with the new.
    let mark = hexadecimal(&digest(&SHA256, key.der_bytes()).as_ref()[..4]);
    params.distinguished_name.push(DnType::CommonName, format!("residency internal CA {mark}"));
    // One more level, for the bridge to a successor.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(crate::tls::DOMAIN.to_owned())],
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

fn valid(params: &mut CertificateParams, now: Timestamp, not_after: Timestamp) {
    let date = |at: Timestamp| date_time_ymd(1970, 1, 1) + Duration::from_secs(at.as_second().unsigned_abs());
    params.not_before = date(now - BACKDATED);
    params.not_after = date(not_after);
    params.distinguished_name = rcgen::DistinguishedName::new();
}

/// 127 random bits, positive as RFC 5280 §4.1.2.2 asks.
fn serial_number() -> Result<SerialNumber, PkiFault> {
    let mut bytes = [0_u8; 16];
    rand::fill(&mut bytes).map_err(|_| rcgen::Error::RingUnspecified)?;
    bytes[0] &= 0x7F;
    Ok(SerialNumber::from_slice(&bytes))
}

fn reread(pem: &str) -> Result<Facts, PkiFault> {
    let mut made = Facts::read_all(pem).map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
    made.pop().ok_or_else(|| rcgen::Error::CouldNotParseCertificate.into())
}
