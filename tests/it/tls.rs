//! TLS toward clients.

use crate::harness::{Setup, vacant};

/// Adds an https listener with a certificate of its own.
pub fn with_certificate(setup: Setup) -> Setup {
    let pair = rcgen::generate_simple_self_signed(vec!["api.test".to_owned()]).expect("a certificate");
    setup.write("chain.pem", &pair.cert.pem());
    setup.write("key.pem", &pair.signing_key.serialize_pem());
    setup.with(&format!(
        "[listen]\nhttps = '{}'\n[tls]\ncertificate = 'file:chain.pem'\nkey = 'file:key.pem'\n",
        vacant()
    ))
}
