//! Where a run goes: the edges by their URLs, and where its clients come from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, bail};
use hub_protocol::api::{PATH_RPC, PATH_WS};

/// An edge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// `Host` of the request.
    pub host: String,
    /// Path of the request.
    pub path: String,
}

impl Target {
    /// Reads `ws://HOST:PORT/PATH`; the path may be left out.
    pub fn ws(url: &str) -> Result<Self> {
        Self::read(url, "ws://", PATH_WS)
    }

    /// Reads `http://HOST:PORT/PATH`; the path may be left out.
    pub fn http(url: &str) -> Result<Self> {
        Self::read(url, "http://", PATH_RPC)
    }

    /// The calls over HTTP of the same edge.
    #[must_use]
    pub fn rpc(&self) -> Self {
        Self {
            path: PATH_RPC.to_owned(),
            ..self.clone()
        }
    }

    fn read(url: &str, scheme: &str, path_default: &str) -> Result<Self> {
        let Some(rest) = url.strip_prefix(scheme) else {
            bail!("{url}: expected {scheme}HOST:PORT (TLS is not spoken here yet)");
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let address = host
            .to_socket_addrs()
            .with_context(|| format!("{url}: {host} is no HOST:PORT"))?
            .next();
        let address = address.with_context(|| format!("{url}: {host} has no address"))?;
        let path = if path.len() > 1 { path } else { path_default };
        Ok(Self {
            address,
            host: host.to_owned(),
            path: path.to_owned(),
        })
    }

    /// True if it is on this machine.
    pub fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback()
    }
}

/// Spreads clients over loopback addresses, so that bounds per address and the range of ports are met: each
/// address is used by `clients_per_address` of them. `None` where the system should choose.
pub fn source(user: u32, clients_per_address: u32, target: SocketAddr) -> Option<SocketAddr> {
    if clients_per_address == 0 || !target.is_ipv4() || !target.ip().is_loopback() {
        return None;
    }
    let group = user / clients_per_address;
    let [_, b, c, d] = (group + 2).to_be_bytes();
    let address = Ipv4Addr::new(127, b, c, d);
    Some(SocketAddr::new(IpAddr::V4(address), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_and_without_a_path() {
        let target = Target::ws("ws://127.0.0.1:8080").unwrap();
        assert_eq!((target.address.port(), target.path.as_str()), (8080, "/v1/ws"));
        assert!(target.is_loopback());
        assert_eq!(target.rpc().path, "/v1/rpc");
        assert_eq!(Target::ws("ws://127.0.0.1:1/x?y").unwrap().path, "/x?y");
        assert!(!Target::http("http://192.0.2.1:80/").unwrap().is_loopback());
        for url in [
            "wss://127.0.0.1:1",
            "http://127.0.0.1:1",
            "ws://127.0.0.1",
            "ws://",
        ] {
            assert!(Target::ws(url).is_err(), "{url}");
        }
    }

    #[test]
    fn sources_are_spread_over_loopback_only() {
        let target = "127.0.0.1:8080".parse().unwrap();
        let address = |user| source(user, 150, target).map(|source| source.ip().to_string());
        assert_eq!(address(0).as_deref(), Some("127.0.0.2"));
        assert_eq!(address(149).as_deref(), Some("127.0.0.2"));
        assert_eq!(address(150).as_deref(), Some("127.0.0.3"));
        assert_eq!(address(150 * 254).as_deref(), Some("127.0.1.0"));
        assert_eq!(source(0, 150, "192.0.2.1:80".parse().unwrap()), None);
        assert_eq!(source(0, 0, target), None);
    }
}
