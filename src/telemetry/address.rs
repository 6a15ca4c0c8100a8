//! Client addresses, shortened until they no longer single out a household.
//!
//! Invariant: a [`TruncatedAddress`] is made by [`truncate_address`] alone, so what takes one can't print a full address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address cut to its network: IPv4 to /24, IPv6 to /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TruncatedAddress {
    network: IpAddr,
    length: u8,
}

/// Cuts an address to its network: IPv4 to /24, IPv6 to /48 (what one site gets).
///
/// IPv4 addresses inside IPv6 ones count as what they are: mapped ones (`::ffff:a.b.c.d`) become IPv4, and 6to4
/// addresses (RFC 3056), whose first 48 bits hold a whole IPv4 address, are cut to /40, which is that address's /24.
pub fn truncate_address(address: IpAddr) -> TruncatedAddress {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            TruncatedAddress { network: Ipv4Addr::new(a, b, c, 0).into(), length: 24 }
        }
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments();
            let (c, length) = if a == 0x2002 { (c & 0xff00, 40) } else { (c, 48) };
            TruncatedAddress { network: Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).into(), length }
        }
    }
}

impl TruncatedAddress {
    /// Appends what `Display` would write: formatting machinery costs more than the four numbers of an IPv4 address.
    pub(super) fn append_to(self, line: &mut Vec<u8>) {
        match self.network {
            IpAddr::V4(network) => {
                let [a, b, c, _] = network.octets();
                for octet in [a, b, c] {
                    line.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
                    line.push(b'.');
                }
                line.extend_from_slice(b"0/24");
            }
            IpAddr::V6(_) => {
                use std::io::Write;
                write!(line, "{self}").expect("a vector takes every write");
            }
        }
    }
}

/// Network and prefix length, so that nobody takes it for an address.
impl fmt::Display for TruncatedAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.network, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut_to_their_network() {
        for (address, expected) in [
            ("203.0.113.77", "203.0.113.0/24"),
            ("0.0.0.0", "0.0.0.0/24"),
            ("255.255.255.255", "255.255.255.0/24"),
            ("2001:db8:1234:5678:9abc:def0:1234:5678", "2001:db8:1234::/48"),
            ("::1", "::/48"),
            ("::ffff:203.0.113.77", "203.0.113.0/24"),
            ("2002:cb00:714d:1::1", "2002:cb00:7100::/40"),
        ] {
            let cut = truncate_address(address.parse().expect("an address"));
            assert_eq!(cut.to_string(), expected, "{address}");
            let mut appended = Vec::new();
            cut.append_to(&mut appended);
            assert_eq!(appended, expected.as_bytes(), "{address}");
        }
    }
}
