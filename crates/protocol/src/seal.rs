//! Seals `auth.*` bodies and results on the backbone: AES-256-GCM with a random nonce (NIST SP 800-38D), bound to
//! where, what and when, so that a sealed text copied elsewhere does not open.
//!
//! ```text
//! sealed = kid length (1 byte) kid | minute (4 bytes) | nonce (12 bytes) | ciphertext | tag (16 bytes)
//! ```

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::as_conversions
    )
)]

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use thiserror::Error;

use crate::address::Address;
use crate::method::Method;

/// Length of a sealing key, bytes.
pub const KEY_BYTES: usize = 32;
/// A sealed text opens this many minutes around the one in which it was made.
const MINUTES_AROUND: u32 = 2;
const KID_BYTES_MAX: usize = 64;

/// Which way a sealed text travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// A request.
    Up,
    /// A result.
    Down,
}

/// What a sealed text is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    /// Which way.
    pub way: Way,
    /// The method of the call.
    pub method: Method,
    /// The connection of the call.
    pub address: Address,
    /// The id of the call.
    pub request: u64,
}

/// Why a text could not be sealed or opened. Says no more than an attacker may know.
#[derive(Debug, Error, PartialEq, Eq, Clone, Copy)]
pub enum SealError {
    /// The key has a wrong length or name.
    #[error("not a sealing key")]
    Key,
    /// Damaged, forged, of another call, too old, or of an unknown key.
    #[error("sealed text does not open")]
    Sealed,
}

/// The keys of a system: seals with the first, opens with any. A rotation [replaces](Self::replace) them.
pub struct Sealer {
    keys: RwLock<Keys>,
}

type Keys = Vec<(String, RandomizedNonceKey)>;

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.keys().iter().map(|(kid, _)| kid))
            .finish()
    }
}

impl Sealer {
    /// Keys by their name (`kid`, 1 to 64 bytes); the first one seals.
    pub fn new(keys: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, SealError> {
        Ok(Self {
            keys: RwLock::new(Self::read(keys)?),
        })
    }

    /// Takes other keys from now on, as [`new`](Self::new) does; an error changes nothing.
    pub fn replace(&self, keys: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<(), SealError> {
        let keys = Self::read(keys)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(keys: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Keys, SealError> {
        let mut known = Vec::new();
        for (kid, key) in keys {
            if kid.is_empty() || kid.len() > KID_BYTES_MAX || key.len() != KEY_BYTES {
                return Err(SealError::Key);
            }
            let Ok(key) = RandomizedNonceKey::new(&AES_256_GCM, &key) else {
                return Err(SealError::Key);
            };
            known.push((kid, key));
        }
        if known.is_empty() {
            return Err(SealError::Key);
        }
        Ok(known)
    }

    /// Seals a text. `minute` is minutes since the Unix epoch.
    pub fn seal(&self, binding: &Binding, minute: u32, text: &[u8]) -> Result<Vec<u8>, SealError> {
        let keys = self.keys();
        let (kid, key) = keys.first().ok_or(SealError::Key)?;
        let mut sealed = text.to_vec();
        let Ok(nonce) = key.seal_in_place_append_tag(aad(binding, minute), &mut sealed) else {
            return Err(SealError::Sealed);
        };
        let mut out = Vec::new();
        out.push(u8::try_from(kid.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(kid.as_bytes());
        out.extend_from_slice(&minute.to_le_bytes());
        out.extend_from_slice(nonce.as_ref());
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Opens what [`seal`](Self::seal) made under the same binding, at most two minutes away.
    pub fn open(&self, binding: &Binding, minute: u32, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (&kid_len, rest) = sealed.split_first().ok_or(SealError::Sealed)?;
        let (kid, rest) = rest
            .split_at_checked(usize::from(kid_len))
            .ok_or(SealError::Sealed)?;
        let (made, rest) = rest.split_first_chunk::<4>().ok_or(SealError::Sealed)?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Sealed)?;
        let made = u32::from_le_bytes(*made);
        if made.abs_diff(minute) > MINUTES_AROUND {
            return Err(SealError::Sealed);
        }
        let keys = self.keys();
        let key = keys.iter().find(|(known, _)| known.as_bytes() == kid);
        let (_, key) = key.ok_or(SealError::Sealed)?;
        let mut text = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let Ok(plain) = key.open_in_place(nonce, aad(binding, made), &mut text) else {
            return Err(SealError::Sealed);
        };
        let len = plain.len();
        text.truncate(len);
        Ok(text)
    }
}

fn aad(binding: &Binding, minute: u32) -> Aad<Vec<u8>> {
    let mut bound = Vec::with_capacity(48);
    bound.extend_from_slice(b"hub1");
    bound.push(match binding.way {
        Way::Up => 1,
        Way::Down => 2,
    });
    bound.extend_from_slice(&binding.method.code().to_le_bytes());
    bound.extend_from_slice(&binding.address.node.0.to_le_bytes());
    bound.extend_from_slice(&binding.address.shard.to_le_bytes());
    bound.extend_from_slice(&binding.address.slot.to_le_bytes());
    bound.extend_from_slice(&binding.address.generation.to_le_bytes());
    bound.extend_from_slice(&binding.request.to_le_bytes());
    bound.extend_from_slice(&minute.to_le_bytes());
    Aad::from(bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

    const BINDING: Binding = Binding {
        way: Way::Up,
        method: Method::AuthLogin,
        address: Address {
            node: NodeId(7),
            shard: 1,
            slot: 2,
            generation: 3,
        },
        request: 4,
    };

    fn sealer(keys: &[&str]) -> Sealer {
        let fill = |kid: &&str| (kid.to_string(), vec![u8::try_from(kid.len()).unwrap(); KEY_BYTES]);
        Sealer::new(keys.iter().map(fill)).unwrap()
    }

    #[test]
    fn opens_what_it_sealed_under_the_same_binding() {
        let sealer = sealer(&["a"]);
        let sealed = sealer.seal(&BINDING, 100, b"secret").unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_eq!(sealer.open(&BINDING, 102, &sealed).unwrap(), b"secret");
    }

    #[test]
    fn does_not_open_elsewhere_or_later() {
        let sealer = sealer(&["a"]);
        let sealed = sealer.seal(&BINDING, 100, b"secret").unwrap();
        let mut others = [BINDING; 5];
        others[0].way = Way::Down;
        others[1].method = Method::AuthRegister;
        others[2].address.slot = 9;
        others[3].address.generation = 9;
        others[4].request = 9;
        for other in others {
            assert_eq!(
                sealer.open(&other, 100, &sealed),
                Err(SealError::Sealed),
                "{other:?}"
            );
        }
        assert_eq!(sealer.open(&BINDING, 103, &sealed), Err(SealError::Sealed));
        assert_eq!(sealer.open(&BINDING, 97, &sealed), Err(SealError::Sealed));
    }

    #[test]
    fn damage_is_found_at_every_byte() {
        let sealer = sealer(&["a"]);
        let sealed = sealer.seal(&BINDING, 100, b"secret").unwrap();
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(
                sealer.open(&BINDING, 100, &damaged),
                Err(SealError::Sealed),
                "byte {at}"
            );
            assert_eq!(
                sealer.open(&BINDING, 100, &sealed[..at]),
                Err(SealError::Sealed),
                "cut {at}"
            );
        }
    }

    #[test]
    fn an_older_key_still_opens_after_a_rotation() {
        let sealed = sealer(&["old"]).seal(&BINDING, 100, b"secret").unwrap();
        assert_eq!(
            sealer(&["newer", "old"]).open(&BINDING, 100, &sealed).unwrap(),
            b"secret"
        );
        assert_eq!(
            sealer(&["newer"]).open(&BINDING, 100, &sealed),
            Err(SealError::Sealed)
        );
    }

    #[test]
    fn replaced_keys_seal_at_once_and_unfit_ones_change_nothing() {
        let sealer = sealer(&["old"]);
        let before = sealer.seal(&BINDING, 100, b"secret").unwrap();
        let fill = |kid: &str| (kid.to_owned(), vec![u8::try_from(kid.len()).unwrap(); KEY_BYTES]);
        sealer.replace([fill("newer"), fill("old")]).unwrap();
        assert_eq!(sealer.open(&BINDING, 100, &before).unwrap(), b"secret");
        let after = sealer.seal(&BINDING, 100, b"secret").unwrap();
        assert!(after.starts_with(b"\x05newer"));
        assert_eq!(
            sealer.replace([("k".to_owned(), vec![1; 31])]),
            Err(SealError::Key)
        );
        assert_eq!(sealer.replace([]), Err(SealError::Key));
        assert_eq!(sealer.open(&BINDING, 100, &after).unwrap(), b"secret");
    }

    #[test]
    fn weak_keys_are_refused() {
        assert!(Sealer::new([]).is_err());
        assert!(Sealer::new([("a".to_owned(), vec![0; 16])]).is_err());
        assert!(Sealer::new([(String::new(), vec![0; 32])]).is_err());
    }
}
