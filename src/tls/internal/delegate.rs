//! What every check of a certificate owes rustls beside the certificate: the handshake's signatures, as another check has them.

/// The methods about signatures that `ServerCertVerifier` and `ClientCertVerifier` share, by those of `$ours`.
macro_rules! signatures_by {
    ($self:ident, $ours:expr) => {
        fn verify_tls12_signature(
            &$self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            $ours.verify_tls12_signature(message, certificate, signature)
        }

        fn verify_tls13_signature(
            &$self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            $ours.verify_tls13_signature(message, certificate, signature)
        }

        fn supported_verify_schemes(&$self) -> Vec<rustls::SignatureScheme> {
            $ours.supported_verify_schemes()
        }
    };
}

pub(super) use signatures_by;
