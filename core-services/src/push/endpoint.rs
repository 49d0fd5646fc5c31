//! Where pushes may go: to public hosts over https. Pure. An endpoint is a URL that a client chose, so that nothing
//! of it may lead into the operator's own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hub_protocol::ErrorCode;
use hub_protocol::api::push::Subscribe;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::PUSH_ENDPOINT_BYTES_MAX;
use hyper::Uri;

use crate::call::refuse;

const KEY_BYTES: usize = 65;
const SECRET_BYTES: usize = 16;

/// A device that gets pushes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Where they are posted to.
    pub endpoint: String,
    /// Its public key: an uncompressed point of P-256.
    pub p256dh: Vec<u8>,
    /// Its secret.
    pub auth: Vec<u8>,
}

/// Which endpoints are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Endpoints {
    /// This machine too, over http: for tests.
    pub allow_loopback: bool,
}

impl Endpoints {
    /// Reads what a browser says of its subscription.
    pub(crate) fn check(self, asked: &Subscribe) -> Result<Device, ErrorBody> {
        let bad = |problem: &str| Err(refuse(ErrorCode::BadRequest, problem));
        if asked.endpoint.len() > PUSH_ENDPOINT_BYTES_MAX {
            return Err(refuse(ErrorCode::TooLarge, "endpoint: at most 2048 bytes"));
        }
        if self.origin(&asked.endpoint).is_none() {
            return bad("endpoint: an https URL of a public host");
        }
        let (Ok(p256dh), Ok(auth)) = (decode(&asked.p256dh), decode(&asked.auth)) else {
            return bad("p256dh and auth: base64url");
        };
        if auth.len() != SECRET_BYTES {
            return bad("auth: 16 bytes");
        }
        if p256dh.len() != KEY_BYTES || !is_point(&p256dh) {
            return bad("p256dh: an uncompressed point of P-256");
        }
        Ok(Device {
            endpoint: asked.endpoint.clone(),
            p256dh,
            auth,
        })
    }

    /// Scheme and authority of an endpoint that may be used; names are looked up later and their addresses are
    /// checked then.
    pub(crate) fn origin(self, endpoint: &str) -> Option<String> {
        let uri: Uri = endpoint.parse().ok()?;
        let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        if authority.as_str().contains('@') || host.is_empty() {
            return None;
        }
        let literal: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let is_allowed = match literal {
            Some(address) => self.allows(address),
            // What is written like a number (octal, hexadecimal) is an address to some resolvers.
            None => {
                host.contains('.')
                    && host
                        .chars()
                        .next_back()
                        .is_some_and(|last| last.is_ascii_alphabetic())
                    && ![".local", ".internal", ".localhost", ".home.arpa"]
                        .iter()
                        .any(|suffix| host.ends_with(suffix))
            }
        };
        let is_local = literal.is_some_and(|address| address.is_loopback());
        let is_scheme = scheme == "https" || (scheme == "http" && self.allow_loopback && is_local);
        (is_allowed && is_scheme).then(|| format!("{scheme}://{authority}"))
    }

    /// Whether a push may go to this address.
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        is_public(address) || (self.allow_loopback && address.is_loopback())
    }
}

/// Browsers write base64url without padding; some clients add it.
fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('='))
}

/// Whether a key can be agreed with.
fn is_point(bytes: &[u8]) -> bool {
    let peer = UnparsedPublicKey::new(&agreement::ECDH_P256, bytes);
    let own = PrivateKey::generate(&agreement::ECDH_P256);
    own.is_ok_and(|own| agreement::agree(&own, peer, (), |_secret| Ok(())).is_ok())
}

/// An address that the whole internet routes.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19)))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let [a, b, ..] = address.segments();
    // Global unicast is 2000::/3; 6to4, Teredo and documentation lie within.
    (0x2000..0x4000).contains(&a) && a != 0x2002 && !(a == 0x2001 && (b < 0x0200 || b == 0x0db8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_public_and_encrypted() {
        let strict = Endpoints::default();
        for good in [
            "https://fcm.googleapis.com/fcm/send/abc:def",
            "https://updates.push.services.mozilla.com/wpush/v2/x",
            "https://web.push.apple.com/x",
            "https://8.8.8.8/x",
            "https://[2606:4700::1111]/x",
        ] {
            assert!(strict.origin(good).is_some(), "{good}");
        }
        for bad in [
            "http://fcm.googleapis.com/x",
            "https://localhost/x",
            "https://db.internal/x",
            "https://printer.local./x",
            "https://intranet/x",
            "https://user@example.com/x",
            "https://10.0.0.1/x",
            "https://127.0.0.1/x",
            "https://0x7f.1/x",
            "https://2130706433/x",
            "https://0/x",
            "https://169.254.169.254/x",
            "https://100.64.0.1/x",
            "https://192.168.1.1:8443/x",
            "https://[::1]/x",
            "https://[::ffff:10.0.0.1]/x",
            "https://[fe80::1]/x",
            "https://[fc00::1]/x",
            "https://[64:ff9b::a00:1]/x",
            "https://[2002:a00:1::]/x",
            "ftp://example.com/x",
            "/x",
            "",
        ] {
            assert_eq!(strict.origin(bad), None, "{bad}");
        }
        let loose = Endpoints { allow_loopback: true };
        assert!(loose.origin("http://127.0.0.1:1234/x").is_some());
        assert_eq!(loose.origin("http://example.com/x"), None);
        assert_eq!(loose.origin("http://10.0.0.1/x"), None);
    }

    #[test]
    fn keys_are_points_of_the_curve() {
        let subscribe = |p256dh: &str, auth: &str| Subscribe {
            op: hub_protocol::Op::NIL,
            endpoint: "https://example.com/x".to_owned(),
            p256dh: p256dh.to_owned(),
            auth: auth.to_owned(),
        };
        // RFC 8291 §5.
        let (key, secret) = (
            "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
            "BTBZMqHH6r4Tts7J_aSIgg",
        );
        let check = |key: &str, secret: &str| {
            Endpoints::default()
                .check(&subscribe(key, secret))
                .map_err(|error| error.code)
        };
        assert_eq!(check(key, secret).unwrap().p256dh.len(), KEY_BYTES);
        let off_curve = key.replace("iw4", "iw8");
        for (key, secret) in [
            (off_curve.as_str(), secret),
            ("", secret),
            (key, ""),
            ("%", secret),
        ] {
            assert_eq!(check(key, secret), Err(ErrorCode::BadRequest), "{key} {secret}");
        }
    }
}
