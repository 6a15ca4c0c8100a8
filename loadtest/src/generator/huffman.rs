//! The Huffman code of header strings (RFC 7541, Appendix B), for the characters that requests are made of.
//!
//! The code is canonical: within a length, codes follow the characters' order, and each length goes on where the one
//! before it stopped. So the characters of each length are the whole table. Those with more than 15 bits (control
//! characters, the backslash, everything beyond ASCII) are left out: no header of the load has them.

/// Characters by the length of their code, in the order of their codes.
const BY_LENGTH: [(u8, &str); 10] = [
    (5, "012aceiost"),
    (6, " %-./3456789=A_bdfghlmnpru"),
    (7, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, "&*,;XZ"),
    (10, "!\"()?"),
    (11, "'+|"),
    (12, "#>"),
    (13, "\0$@[]~"),
    (14, "^}"),
    (15, "<`{"),
];

/// Code and length by character; length 0 where there is none.
#[derive(Debug)]
pub(super) struct Huffman {
    codes: [(u32, u8); 128],
}

impl Huffman {
    pub(super) fn new() -> Self {
        let mut codes = [(0, 0); 128];
        let mut code = 0;
        let mut length = 0;
        for (next_length, characters) in BY_LENGTH {
            code <<= next_length - length;
            length = next_length;
            for character in characters.bytes() {
                codes[usize::from(character)] = (code, length);
                code += 1;
            }
        }
        Self { codes }
    }

    /// The encoded text, padded with ones to whole bytes; `None` when a character has no code here.
    pub(super) fn encode(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(text.len());
        let mut bits = 0_u64;
        let mut held = 0_u8;
        for byte in text {
            let (code, length) = *self.codes.get(usize::from(*byte)).filter(|(_, length)| *length > 0)?;
            bits = bits << length | u64::from(code);
            held += length;
            while held >= 8 {
                held -= 8;
                out.push((bits >> held) as u8);
            }
        }
        if held > 0 {
            out.push((bits << (8 - held)) as u8 | 0xff >> held);
        }
        Some(out)
    }

    /// What is encoded in whole characters of up to 8 bits, which is what numbers are; `None` for anything else.
    pub(super) fn decode_number(&self, encoded: &[u8]) -> Option<u32> {
        let mut digits = String::new();
        let mut bits = 0_u32;
        let mut held = 0_u8;
        for byte in encoded {
            bits = bits << 8 | u32::from(*byte);
            held += 8;
            while let Some((digit, length)) = self.leading_digit(bits, held) {
                digits.push(digit);
                held -= length;
                bits &= (1 << held) - 1;
            }
            if held > 7 {
                return None;
            }
        }
        // Padding: the leading ones of the longest code.
        if bits != (1 << held) - 1 {
            return None;
        }
        digits.parse().ok()
    }

    fn leading_digit(&self, bits: u32, held: u8) -> Option<(char, u8)> {
        (b'0'..=b'9').find_map(|digit| {
            let (code, length) = self.codes[usize::from(digit)];
            (held >= length && bits >> (held - length) == code).then(|| (char::from(digit), length))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strings and their codes from RFC 7541, Appendix C.4 and C.6.
    #[test]
    fn the_examples_of_the_specification() {
        let huffman = Huffman::new();
        let cases: [(&str, &[u8]); 5] = [
            ("www.example.com", &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
            ("no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            ("custom-value", &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf]),
            (
                "Mon, 21 Oct 2013 20:13:21 GMT",
                &[
                    0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81,
                    0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
                ],
            ),
            (
                "https://www.example.com",
                &[
                    0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8, 0xe9, 0xae, 0x82, 0xae,
                    0x43, 0xd3,
                ],
            ),
        ];
        for (text, encoded) in cases {
            assert_eq!(huffman.encode(text.as_bytes()).as_deref(), Some(encoded), "{text}");
        }
        assert_eq!(huffman.encode(b"back\\slash"), None);
    }

    #[test]
    fn numbers_come_back_and_nothing_else_is_one() {
        let huffman = Huffman::new();
        for number in [0, 7, 200, 302, 401, 999] {
            let encoded = huffman.encode(number.to_string().as_bytes()).expect("digits have codes");
            assert_eq!(huffman.decode_number(&encoded), Some(number));
        }
        assert_eq!(huffman.decode_number(&[0x64, 0x02]), Some(302), "from RFC 7541, Appendix C.6.1");
        for other in ["no-cache", "20x"] {
            let encoded = huffman.encode(other.as_bytes()).expect("letters have codes");
            assert_eq!(huffman.decode_number(&encoded), None, "{other}");
        }
    }
}
