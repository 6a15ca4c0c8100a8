//! The signed form of a position token, and the keyed hash of subjects that memories go by.
//!
//! `base64url(token bytes, HMAC-SHA-256 of them cut to 16)`, under a key derived for this purpose alone. Forging a position could
//! only hurt the forger's own reads, but a position is also what a pin is lifted by.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::position::{MOST_BYTES, Slot, Token};
use crate::domain::secret::Secret;

/// Bytes of the signature that are kept: 128 bits.
const MAC: usize = 16;
/// The longest signed token.
const MOST_TEXT: usize = (MOST_BYTES + MAC).div_ceil(3) * 4;

/// Signs tokens, and hashes subjects.
pub struct TokenKey {
    signing: hmac::Key,
    subjects: hmac::Key,
}

/// Why a text is no token of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    Malformed,
    Signature,
}

impl TokenKey {
    pub fn new(secret: &Secret) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        let derived = |label: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, label).as_ref());
        Self {
            signing: derived(b"residency position token v1"),
            subjects: derived(b"residency position subject v1"),
        }
    }

    pub fn seal(&self, token: &Token) -> String {
        let mut bytes = token.encode();
        let mac = hmac::sign(&self.signing, &bytes);
        bytes.extend_from_slice(&mac.as_ref()[..MAC]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub fn open(&self, text: &[u8]) -> Result<Token, TokenFault> {
        if text.len() > MOST_TEXT {
            return Err(TokenFault::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenFault::Malformed)?;
        let (token, mac) = bytes.split_last_chunk::<MAC>().ok_or(TokenFault::Malformed)?;
        let expected = hmac::sign(&self.signing, token);
        constant_time::verify_slices_are_equal(&expected.as_ref()[..MAC], mac)
            .map_err(|_| TokenFault::Signature)?;
        Token::decode(token).map_err(|_| TokenFault::Malformed)
    }

    pub fn slot(&self, subject: &[u8]) -> Slot {
        let hash = hmac::sign(&self.subjects, subject);
        let start = hash.as_ref().first_chunk().expect("SHA-256 has 32 bytes");
        Slot::of_hash(u64::from_be_bytes(*start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::register::Generation;
    use crate::domain::replication_lag::{LogPosition, Lsn, Timeline};

    fn key(byte: u8) -> TokenKey {
        TokenKey::new(&Secret::new(vec![byte; 32]))
    }

    fn token(name: &str) -> Token {
        let at = LogPosition { timeline: Timeline(3), lsn: Lsn(0x16_B374_D848) };
        Token::new(name, at, u64::MAX - 1).of_generation(Generation(u64::MAX))
    }

    #[test]
    fn what_was_sealed_opens_and_is_short() {
        for name in ["eu", "a-jurisdiction-with-a-name-that-goes-on-and-on-for-ever"] {
            for token in [token(name), Token::pin(name)] {
                let text = key(1).seal(&token);
                assert!(text.len() <= 120, "{} characters", text.len());
                assert_eq!(key(1).open(text.as_bytes()), Ok(token));
            }
        }
        assert_eq!(key(1).seal(&token("eu")).len(), 64);
    }

    #[test]
    fn nothing_else_opens() {
        let text = key(1).seal(&token("eu"));
        assert_eq!(key(2).open(text.as_bytes()), Err(TokenFault::Signature), "another key's");
        for index in 0..text.len() {
            for other in [b'A', b'B', b'z', b'-', b'=', b' ', 0xFF] {
                let mut bytes = text.clone().into_bytes();
                if std::mem::replace(&mut bytes[index], other) != other {
                    assert!(key(1).open(&bytes).is_err(), "byte {index} is {other}");
                }
            }
            assert!(key(1).open(&text.as_bytes()[..index]).is_err(), "cut to {index}");
        }
        for text in ["", "x", &text.repeat(2), &format!("{text}=")] {
            assert!(key(1).open(text.as_bytes()).is_err(), "{text}");
        }
        // Signed by us, of a version that is not ours.
        let mut bytes = token("eu").encode();
        bytes[0] = 2;
        let mac = hmac::sign(&key(1).signing, &bytes);
        bytes.extend_from_slice(&mac.as_ref()[..MAC]);
        let text = URL_SAFE_NO_PAD.encode(bytes);
        assert_eq!(key(1).open(text.as_bytes()), Err(TokenFault::Malformed));
    }

    #[test]
    fn subjects_are_spread_and_the_same_for_all_with_the_key() {
        let slots: std::collections::HashSet<String> =
            (0..1000).map(|user| format!("{:?}", key(1).slot(format!("user {user}").as_bytes()))).collect();
        assert!(slots.len() > 980, "{} of 1000", slots.len());
        assert_eq!(key(1).slot(b"me"), key(1).slot(b"me"));
    }
}
