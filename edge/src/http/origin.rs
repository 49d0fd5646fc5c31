//! Which pages may open a WebSocket (RFC 6455 §10.2): browsers let any page connect anywhere, and say where it is from.

use hub_ws::handshake::Head;

/// The pages that are let in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origins {
    /// Every page.
    Any,
    /// Pages of the host that the request names.
    SameHost,
    /// Pages of these.
    Listed(Vec<Origin>),
}

/// Scheme, host and port (RFC 6454 §4), in lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Scheme {
    Http,
    Https,
}

impl Scheme {
    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Origins {
    /// Reads the list of the configuration; what is wrong is given back.
    pub fn parse(list: &[String]) -> Result<Self, String> {
        if list.iter().any(|entry| entry == "*") {
            return Ok(Self::Any);
        }
        if list.is_empty() {
            return Ok(Self::SameHost);
        }
        let origins = list
            .iter()
            .map(|entry| Origin::parse(entry).ok_or_else(|| entry.clone()));
        origins.collect::<Result<_, _>>().map(Self::Listed)
    }

    /// Whether a request may be upgraded. Programs that are no browser send no `Origin`.
    pub(super) fn allow(&self, head: &Head<'_>) -> bool {
        if *self == Self::Any || head.all("origin").next().is_none() {
            return true;
        }
        let Some(origin) = head.find("origin").and_then(Origin::parse) else {
            return false;
        };
        match self {
            Self::Any => true,
            Self::Listed(origins) => origins.contains(&origin),
            Self::SameHost => head.find("host").is_some_and(|host| origin.is_of(host)),
        }
    }
}

impl Origin {
    /// `scheme://host[:port]` of a page; `None` for anything else, `null` included.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let (host, port) = split_authority(authority)?;
        Some(Self {
            scheme,
            host,
            port: port.unwrap_or(scheme.port()),
        })
    }

    /// Whether a `Host` names the same host and port. A `Host` does not say which scheme it was asked for with, and
    /// TLS may end before us: its port is then the default of the page's scheme.
    fn is_of(&self, host: &str) -> bool {
        split_authority(host)
            .is_some_and(|(host, port)| host == self.host && port.unwrap_or(self.scheme.port()) == self.port)
    }
}

/// Host in lower case, and port if there is one.
fn split_authority(text: &str) -> Option<(String, Option<u16>)> {
    let after_address = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text.get(after_address..)?.rfind(':') {
        None => (text, None),
        Some(at) => {
            let (host, port) = text.split_at(after_address + at);
            let port = port.get(1..)?;
            if !port.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            (host, Some(port.parse().ok()?))
        }
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_valid = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(is_name),
    };
    is_valid.then(|| (host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(list: &[&str], lines: &str) -> bool {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        let origins = Origins::parse(&list).unwrap();
        let text = format!("GET /v1/ws HTTP/1.1\r\n{lines}\r\n\r\n");
        let (head, _) = Head::read(text.as_bytes()).unwrap().unwrap();
        origins.allow(&head)
    }

    #[test]
    fn a_star_lets_everybody_in_and_programs_always_come_in() {
        assert!(allows(&["*"], "Host: a\r\nOrigin: null"));
        assert!(allows(&[], "Host: a"));
        assert!(allows(&["https://b"], "Host: a"));
    }

    #[test]
    fn scheme_host_and_port_all_count() {
        let listed = ["https://a.example", "http://b.example:8080", "http://[::1]:3000"];
        for (origin, expected) in [
            ("https://a.example", true),
            ("HTTPS://A.Example:443", true),
            ("http://b.example:8080", true),
            ("http://[::1]:3000", true),
            ("http://a.example", false),
            ("https://a.example:444", false),
            ("https://a.example.", false),
            ("https://x.a.example", false),
            ("https://a.example/", false),
            ("https://u@a.example", false),
            ("https://a.example:+443", false),
            ("https://a.example:65979", false),
            ("https://", false),
            ("null", false),
            ("*", false),
        ] {
            let lines = format!("Host: a.example\r\nOrigin: {origin}");
            assert_eq!(allows(&listed, &lines), expected, "{origin}");
        }
    }

    #[test]
    fn the_same_host_is_the_one_the_request_names() {
        for (host, origin, expected) in [
            ("a", "http://a", true),
            ("a", "https://a", true),
            ("a:443", "https://a", true),
            ("a:80", "https://a", false),
            ("A:8080", "http://a:8080", true),
            ("a", "http://a:8080", false),
            ("[::1]:1", "http://[::1]:1", true),
            ("a", "http://b", false),
            ("a", "null", false),
        ] {
            let lines = format!("Host: {host}\r\nOrigin: {origin}");
            assert_eq!(allows(&[], &lines), expected, "{host} {origin}");
        }
        assert!(!allows(&[], "Host: a\r\nOrigin: http://a\r\nOrigin: http://a"));
    }

    #[test]
    fn a_list_with_anything_else_is_refused() {
        for entry in ["a.example", "https://a/b", "ftp://a", "https://a:x", "", "null"] {
            assert_eq!(Origins::parse(&[entry.to_owned()]), Err(entry.to_owned()));
        }
    }
}
