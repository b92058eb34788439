//! Whose word is taken for what somebody else has asked for.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Addresses from which a request may say, in forward-auth, what its own caller asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

/// This machine, and the private networks (RFC 1918, RFC 4193).
const DEFAULT: &str = "127.0.0.0/8, ::1/128, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7";

/// Nobody is trusted.
const NONE: &str = "none";

impl TrustedProxies {
    /// Whether `address` is one of them. An IPv4 address in the clothes of IPv6 is the IPv4 one.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl Default for TrustedProxies {
    fn default() -> Self {
        DEFAULT.parse().unwrap_or(Self(Vec::new()))
    }
}

/// A text names no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be none, or addresses and networks with commas between them")]
pub struct NoNetwork;

impl FromStr for TrustedProxies {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        if text == NONE {
            return Ok(Self(Vec::new()));
        }
        let network = |part: &str| {
            let part = part.trim();
            let network = part.parse::<IpNet>().ok();
            network.or_else(|| part.parse::<IpAddr>().ok().map(IpNet::from)).ok_or(NoNetwork)
        };
        text.split(',').map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for TrustedProxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(NONE);
        }
        let all: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(", "))
    }
}

impl Serialize for TrustedProxies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TrustedProxies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_private_networks_are_trusted_and_nobody_else() {
        let trusted = TrustedProxies::default();
        let is_trusted = |address: &str| trusted.contains(address.parse().unwrap());
        for near in [
            "127.0.0.1",
            "::1",
            "10.9.8.7",
            "172.31.0.1",
            "192.168.1.1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_trusted(near), "{near}");
        }
        for far in
            ["192.0.2.1", "172.32.0.1", "2001:db8::1", "::ffff:192.0.2.1", "0.0.0.0", "fe80::1"]
        {
            assert!(!is_trusted(far), "{far}");
        }
        assert_eq!(trusted.to_string(), DEFAULT);
    }

    #[test]
    fn none_is_nobody_and_an_address_is_a_network_of_one() {
        let nobody: TrustedProxies = "none".parse().unwrap();
        assert!(!nobody.contains("127.0.0.1".parse().unwrap()));
        assert_eq!(nobody.to_string(), "none");
        let one: TrustedProxies = "192.0.2.7".parse().unwrap();
        assert!(one.contains("192.0.2.7".parse().unwrap()));
        assert!(!one.contains("192.0.2.8".parse().unwrap()));
    }
}
