//! Networks that somebody may call from.

use super::{Error, text_name};
use std::net::IpAddr;
use std::sync::Arc;

/// An IPv4 or IPv6 network in CIDR form, or one address.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Network(Arc<str>);

impl Network {
    /// Parses `<address>` or `<address>/<bits>`.
    ///
    /// # Errors
    /// When the address is none, or has not so many bits.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let most = match address.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => 0,
        };
        let digits = |bits: &str| (1..=3).contains(&bits.len()) && bits.bytes().all(|b| b.is_ascii_digit());
        let fits = bits.is_none_or(|bits| digits(bits) && bits.parse::<u32>().is_ok_and(|bits| bits <= most));
        if most > 0 && fits {
            Ok(Self(text.into()))
        } else {
            Err(Error::new("network", text, "an IPv4 or IPv6 address, with /<bits> for a network"))
        }
    }

    /// The network's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_name!(Network);

#[cfg(test)]
mod tests {
    use super::Network;

    #[test]
    fn a_network_is_an_address_and_no_more_bits_than_it_has() {
        for good in ["10.0.0.0/8", "203.0.113.7", "0.0.0.0/0", "2001:db8::/32", "::1", "::/0", "10.0.0.1/32"] {
            assert_eq!(Network::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "/8", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/08888", "host"]
        {
            assert!(Network::parse(bad).is_err(), "{bad:?}");
        }
    }
}
