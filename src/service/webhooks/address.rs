//! Which addresses messages may be sent to.

use std::net::{IpAddr, SocketAddr};

use reqwest::Url;

use super::WebhookOptions;
use crate::domain::addresses::is_public;

/// What webhooks may be reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schemes {
    /// TLS.
    HttpsAlone,
    /// Without TLS too.
    HttpToo,
}

/// Where webhooks may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Networks {
    /// On the public internet.
    PublicAlone,
    /// Anywhere, the operator's own network and this machine too.
    Any,
}

impl Networks {
    /// Whether something may be sent to this address.
    #[must_use]
    pub fn allow(self, address: IpAddr) -> bool {
        match self {
            Self::PublicAlone => is_public(address),
            Self::Any => true,
        }
    }

    /// The addresses of a name, none where one of them is forbidden: a name that leads to two
    /// networks is no honest one.
    #[must_use]
    pub fn of_name(self, found: Vec<SocketAddr>) -> Option<Vec<SocketAddr>> {
        found.iter().all(|address| self.allow(address.ip())).then_some(found)
    }
}

/// The address that stands in a URL itself, if one does.
#[must_use]
pub fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Says what is wrong with the address of a webhook.
pub(super) fn check_url(text: &str, options: WebhookOptions) -> Result<(), &'static str> {
    const LONGEST: usize = 2_000;
    let url: Url = text.parse().map_err(|_| "must be an address such as https://…")?;
    if text.len() > LONGEST {
        return Err("must have at most 2000 characters");
    }
    match (url.scheme(), options.schemes) {
        ("https", _) | ("http", Schemes::HttpToo) => {}
        ("http", Schemes::HttpsAlone) => {
            return Err("must begin with https:// (webhooks.allow_http would let it be)");
        }
        _ => return Err("must begin with https://"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a name or a password: messages are signed");
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment");
    }
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    let is_local = host.eq_ignore_ascii_case("localhost") || host.ends_with(".localhost");
    let is_allowed = literal(&url).is_none_or(|address| options.networks.allow(address));
    if (is_local && options.networks == Networks::PublicAlone) || !is_allowed {
        return Err("must not be in a private network (webhooks.allow_private_networks would let \
                    it be)");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_within_the_operators_network_is_refused() {
        let open = WebhookOptions { schemes: Schemes::HttpToo, ..WebhookOptions::default() };
        for good in
            ["https://hooks.example.com/in?a=b", "https://8.8.8.8:8443/", "http://x.example"]
        {
            assert_eq!(check_url(good, open), Ok(()), "{good}");
        }
        for bad in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://localhost:80/",
            "http://LOCALHOST./",
            "http://x.localhost/",
            "https://169.254.169.254/latest",
            "https://u:p@example.com/",
            "ftp://example.com/",
            "https://example.com/#x",
            "example.com",
            "https://",
            "file:///etc/passwd",
            "http://127.0.0.1./",
            "http://0177.0.0.1/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://0/",
            "http://0.0.0.0/",
            "http://10.1/",
            "http://%31%32%37.0.0.1/",
            "http://\u{2460}\u{2461}\u{2466}.0.0.1/",
            "http://127\u{3002}0\u{3002}0\u{3002}1/",
            "http://[::]/",
            "http://[::7f00:1]/",
            "http://[::ffff:8.8.8.8]/",
            "http://[64:ff9b::10.0.0.1]/",
            "http://[64:ff9b:1::a00:1]/",
            "http://[2002:a00:1::]/",
            "http://[fe80::1]/",
            "http://[fe80::1%25eth0]/",
            "http://[fc00::1]/",
            "http://localhost./",
            "http://a.b.localhost./",
            "http://\u{FF4C}ocalhost/",
            "https://example.com@127.0.0.1/",
            "https://127.0.0.1:80@example.com/",
            "https://example.com:0x50/",
            "https://example.com:65536/",
            "https:///",
        ] {
            assert!(check_url(bad, open).is_err(), "{bad}");
        }
        assert!(check_url("http://example.com/", WebhookOptions::default()).is_err());
    }

    #[test]
    fn a_name_with_one_forbidden_address_is_forbidden_as_a_whole() {
        let of = |addresses: &[&str]| {
            let found = addresses.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0));
            Networks::PublicAlone.of_name(found.collect()).map(|allowed| allowed.len())
        };
        assert_eq!(of(&["8.8.8.8", "2606:4700::1111"]), Some(2));
        for private in ["10.0.0.1", "::1", "::ffff:8.8.8.8", "0.0.0.0", "169.254.169.254"] {
            assert_eq!(of(&["8.8.8.8", private]), None, "{private}");
            assert_eq!(of(&[private, "8.8.8.8"]), None, "{private}");
        }
    }
}
