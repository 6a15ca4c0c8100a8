//! A certificate for clients to trust: ECDSA on P-256, self-signed, for the host that requests name.
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;

use crate::generator::{Protocol, Secure, Trust};

/// Certificate and key as PEM files, and what the load needs to know of them.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    host: &'static str,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Makes a new pair in the directory.
    pub(crate) fn make(directory: &Path, host: &'static str) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let directory = fs::canonicalize(directory)?;
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("generating a P-256 key")?;
        let made = CertificateParams::new(vec![host.to_owned()])?.self_signed(&pair)?;
        let files = [directory.join("tls.crt"), directory.join("tls.key")];
        for (path, pem) in files.iter().zip([made.pem(), pair.serialize_pem()]) {
            write_private(path, &pem).with_context(|| format!("writing {}", path.display()))?;
        }
        let [chain, key] = files;
        Ok(Self { chain, key, host, der: made.der().clone() })
    }

    /// What clients trust.
    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// TLS of the load toward whoever presents it.
    pub(crate) fn secure(&self, protocol: Protocol, trust: Trust) -> Result<Secure> {
        Secure::new(&self.der, self.host, protocol, trust)
    }

    /// Files that are not there.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self {
            chain: "/nowhere/tls.crt".into(),
            key: "/nowhere/tls.key".into(),
            host: "nowhere.example",
            der: CertificateDer::from(Vec::new()),
        }
    }
}

fn write_private(path: &Path, pem: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(pem.as_bytes())
}
