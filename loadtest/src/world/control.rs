//! The control API, as a region's own programs call it: with the certificate that the region's API has.
use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use http::Method;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::{Call, Port, Region, World, gateway::control_files};

impl World {
    /// A call of a program in `region` to the gateway there.
    ///
    /// # Errors
    /// In a world without gateways there are no certificates.
    pub fn control(&self, region: Region, method: Method, path: &str) -> Result<Call> {
        let config = identity(&control_files(self.root(), region), &format!("{region}.control.api"))
            .with_context(|| format!("the certificates of {region}'s programs"))?;
        // Reached by address, and known by its certificate.
        let server = ServerName::try_from(format!("{region}.gateway.residency.internal"))?;
        Ok(Call::new(self.address(region, Port::GatewayInternal), method, path).secure(config, server))
    }
}

/// TLS that trusts the directory's authority and shows one of its certificates.
fn identity(directory: &Path, name: &str) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(directory.join("ca.crt"))? {
        roots.add(root?)?;
    }
    let chain = CertificateDer::pem_file_iter(directory.join(format!("{name}.crt")))?;
    let key = PrivateKeyDer::from_pem_file(directory.join(format!("{name}.key")))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13])?.with_root_certificates(roots);
    Ok(builder.with_client_auth_cert(chain.collect::<Result<_, _>>()?, key)?)
}
