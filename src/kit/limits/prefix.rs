//! Networks of addresses, by their first bits.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::invalid;

/// The network that an address belongs to. Its `Display` is of the form `192.0.2.0/24`.
///
/// ```
/// use slabloop::kit::limits::{Prefix, PrefixLengths};
///
/// // One limit for each /24 network of IPv4.
/// let lengths = PrefixLengths::new(24, 48)?;
/// assert_eq!(Prefix::of("192.0.2.7".parse()?, lengths), Prefix::of("192.0.2.8".parse()?, lengths));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixLengths {
    v4: u8,
    v6: u8,
}

impl PrefixLengths {
    /// `v4` is up to 32 bits for IPv4, `v6` up to 128 for IPv6. With 0, all addresses of that family are one peer.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if a number is larger than that.
    pub fn new(v4: u8, v6: u8) -> io::Result<PrefixLengths> {
        if v4 > 32 || v6 > 128 {
            return Err(invalid(format!(
                "prefix lengths /{v4} for IPv4 and /{v6} for IPv6: expected at most 32 and 128"
            )));
        }
        Ok(PrefixLengths { v4, v6 })
    }
}

impl Default for PrefixLengths {
    fn default() -> PrefixLengths {
        PrefixLengths { v4: 32, v6: 64 }
    }
}

/// The network that an address belongs to; shown as `192.0.2.0/24`.
///
/// ```
/// use slabloop::kit::limits::{Prefix, PrefixLengths};
///
/// let prefix = |text: &str| Prefix::of(text.parse().unwrap(), PrefixLengths::default());
/// assert_eq!(prefix("2001:db8::1:2:3:4").to_string(), "2001:db8::/64");
/// // What a listener on both families sees of an IPv4 client is IPv4.
/// assert_eq!(prefix("::ffff:192.0.2.7"), prefix("192.0.2.7"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The prefix of `address`. An IPv4 address that is mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn of(address: IpAddr, lengths: PrefixLengths) -> Prefix {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(lengths.v4));
                let bits = address.to_bits() & mask.unwrap_or_default();
                Prefix {
                    address: Ipv4Addr::from_bits(bits).into(),
                    length: lengths.v4,
                }
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(lengths.v6));
                let bits = address.to_bits() & mask.unwrap_or_default();
                Prefix {
                    address: Ipv6Addr::from_bits(bits).into(),
                    length: lengths.v6,
                }
            }
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.address.is_ipv4() { 32 } else { 128 };
        match self.length {
            length if length == whole => self.address.fmt(f),
            length => write!(f, "{}/{length}", self.address),
        }
    }
}
