//! The HMAC over the decision's headers, for APIs that can be reached without the gateway.

use crate::domain::secret::Secret;
use aws_lc_rs::hmac;

/// Signs with HMAC-SHA-256.
pub struct Signer(hmac::Key);

/// What the API is told, as it is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told<'a> {
    pub served_by: &'a str,
    pub access: &'static str,
    pub jurisdiction: Option<&'a str>,
    pub database: Option<&'static str>,
    pub subject: Option<&'a [u8]>,
}

impl Signer {
    pub fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
    }

    /// `t=<unix seconds>,v1=<hex>` over the time and the five values, a line each, empty where there is none.
    pub fn sign(&self, unix_seconds: u64, told: &Told<'_>) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        let mut digits = itoa::Buffer::new();
        let time = digits.format(unix_seconds);
        context.update(time.as_bytes());
        let Told { served_by, access, jurisdiction, database, subject } = told;
        let jurisdiction = jurisdiction.unwrap_or_default().as_bytes();
        for value in [
            served_by.as_bytes(),
            access.as_bytes(),
            jurisdiction,
            database.unwrap_or_default().as_bytes(),
            subject.unwrap_or_default(),
        ] {
            context.update(b"\n");
            context.update(value);
        }
        let mut text = format!("t={time},v1=");
        for byte in context.sign().as_ref() {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).expect("a nibble is a hex digit"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_covers_each_value() {
        let signer = Signer::new(&Secret::new("a secret of the API's"));
        let told = Told { served_by: "eu-frankfurt", access: "read", ..Told::default() };
        let first = signer.sign(1_700_000_000, &told);
        assert!(first.starts_with("t=1700000000,v1="));
        assert_eq!(first.len(), "t=1700000000,v1=".len() + 64);
        assert_eq!(first, signer.sign(1_700_000_000, &told));
        assert_ne!(first, signer.sign(1_700_000_001, &told));
        for other in [
            Told { served_by: "us-east", ..told },
            Told { access: "write", ..told },
            Told { jurisdiction: Some("eu"), ..told },
            Told { database: Some("primary"), ..told },
            Told { subject: Some(b"42"), ..told },
        ] {
            assert_ne!(first, signer.sign(1_700_000_000, &other), "{other:?}");
        }
    }
}
