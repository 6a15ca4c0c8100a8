//! The HMAC over the decision's headers, for APIs that can be reached without the gateway.

use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderValue};

use super::headers::{ACCESS, DATABASE, JURISDICTION, SERVED_BY, SUBJECT};
use crate::domain::secret::Secret;

/// Signs with HMAC-SHA-256.
pub struct Signer(hmac::Key);

impl Signer {
    pub fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
    }

    /// `t=<unix seconds>,v1=<hex>` over the time and the five values, a line each, empty where there is none.
    pub fn sign(&self, unix_seconds: u64, headers: &HeaderMap) -> HeaderValue {
        let mut context = hmac::Context::with_key(&self.0);
        let mut digits = itoa::Buffer::new();
        let time = digits.format(unix_seconds);
        context.update(time.as_bytes());
        for name in [SERVED_BY, ACCESS, JURISDICTION, DATABASE, SUBJECT] {
            context.update(b"\n");
            if let Some(value) = headers.get(name) {
                context.update(value.as_bytes());
            }
        }
        let mut text = format!("t={time},v1=");
        for byte in context.sign().as_ref() {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).expect("a nibble is a hex digit"));
            }
        }
        HeaderValue::from_str(&text).expect("digits and letters")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_covers_each_value() {
        let signer = Signer::new(&Secret::new("a secret of the API's"));
        let mut headers = HeaderMap::new();
        headers.insert(SERVED_BY, HeaderValue::from_static("eu-frankfurt"));
        let first = signer.sign(1_700_000_000, &headers);
        assert!(first.to_str().expect("ASCII").starts_with("t=1700000000,v1="));
        assert_eq!(first.len(), "t=1700000000,v1=".len() + 64);
        assert_eq!(first, signer.sign(1_700_000_000, &headers));
        assert_ne!(first, signer.sign(1_700_000_001, &headers));
        headers.insert(SUBJECT, HeaderValue::from_static("42"));
        assert_ne!(first, signer.sign(1_700_000_000, &headers));
    }
}
