//! Where WebSocket frames begin and end in a stream of bytes (RFC 6455 §5.2), so that a frame of the gateway's own can be put
//! between two of them.
//!
//! Only lengths are read; payloads, masks and extensions are no concern here. A control frame may stand between the fragments of a
//! message, so the end of a frame is enough.

/// The opcode of a close frame.
const CLOSE: u8 = 8;

/// How far a stream of frames has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Frames {
    /// Bytes of the head that have come, of 14 at most.
    head: [u8; 14],
    have: usize,
    /// Bytes of the payload still to come.
    payload: u64,
    /// A close frame has begun: nothing may follow it.
    closed: bool,
}

impl Frames {
    /// These bytes have passed.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let taken = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= taken as u64;
                bytes = &bytes[taken..];
                continue;
            }
            self.head[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if let Some(payload) = self.whole_head() {
                self.closed |= self.head[0] & 0x0f == CLOSE;
                (self.have, self.payload) = (0, payload);
            }
        }
    }

    /// Nothing of a frame is missing.
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.payload == 0
    }

    /// A frame may follow.
    pub fn takes_more(&self) -> bool {
        self.is_between() && !self.closed
    }

    /// The length of the payload, once the head is there.
    fn whole_head(&self) -> Option<u64> {
        let second = *self.head[..self.have].get(1)?;
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let length = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.have < 2 + length + mask {
            return None;
        }
        Some(match length {
            0 => u64::from(second & 0x7f),
            _ => self.head[2..2 + length].iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(payload: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x82];
        match payload {
            0..=125 => bytes.push(mask | payload as u8),
            126..=65_535 => {
                bytes.push(mask | 0x7e);
                bytes.extend_from_slice(&(payload as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend_from_slice(&(payload as u64).to_be_bytes());
            }
        }
        if masked {
            bytes.extend_from_slice(&[0xff; 4]);
        }
        bytes.resize(bytes.len() + payload, 0xff);
        bytes
    }

    #[test]
    fn nothing_follows_a_close_frame() {
        let mut seen = Frames::default();
        seen.pass(&frame(5, false));
        assert!(seen.takes_more());
        seen.pass(&[0x88, 0x02, 0x03]);
        assert!(!seen.is_between());
        seen.pass(&[0xe8]);
        assert!(seen.is_between() && !seen.takes_more());
    }

    proptest! {
        #[test]
        fn the_end_of_every_frame_is_found_however_the_bytes_come(
            frames in prop::collection::vec((prop_oneof![0usize..130, 65_530usize..65_540], any::<bool>()), 1..5),
            piece in 1usize..5000,
        ) {
            let mut ends = vec![0];
            let mut bytes = Vec::new();
            for (payload, masked) in frames {
                bytes.extend(frame(payload, masked));
                ends.push(bytes.len());
            }
            let mut seen = Frames::default();
            let mut at = 0;
            for part in bytes.chunks(piece) {
                seen.pass(part);
                at += part.len();
                prop_assert_eq!(seen.is_between(), ends.contains(&at), "at {}", at);
            }
        }
    }
}
