//! Password hashes (argon2id, RFC 9106) on threads of their own, a few at a time: a storm of logins must not starve
//! the worker, and no database transaction waits for a hash.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use crate::config::AuthConfig;

/// Hashes and verifies passwords.
#[derive(Clone, Debug)]
pub(super) struct Passwords {
    argon2: Argon2<'static>,
    turns: Arc<Semaphore>,
    /// Verified for users that do not exist, so that they take as long as the others.
    dummy: Arc<str>,
}

impl Passwords {
    pub(super) fn new(config: &AuthConfig) -> Result<Self, String> {
        let params = Params::new(
            config.argon2_memory_kib,
            config.argon2_passes,
            config.argon2_lanes,
            None,
        );
        let params = params.map_err(|error| format!("auth.argon2_*: {error}"))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = hash(&argon2, "nobody has this password").ok_or("argon2 refuses to hash")?;
        Ok(Self {
            argon2,
            turns: Arc::new(Semaphore::new(config.hash_threads)),
            dummy: dummy.into(),
        })
    }

    /// The PHC string of a password.
    pub(super) async fn hash(&self, password: &str) -> Option<String> {
        let password = password.to_owned();
        self.run(move |argon2| hash(argon2, &password)).await
    }

    /// True if the password belongs to the hash. Without a hash it takes as long and is false.
    pub(super) async fn verify(&self, password: &str, hash: Option<String>) -> bool {
        let (password, is_known) = (password.to_owned(), hash.is_some());
        let hash = hash.unwrap_or_else(|| self.dummy.to_string());
        let verify = move |argon2: &Argon2<'_>| {
            let hash = PasswordHash::new(&hash).ok()?;
            argon2.verify_password(password.as_bytes(), &hash).ok()
        };
        self.run(verify).await.is_some() && is_known
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'_>) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        let argon2 = self.argon2.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&argon2)
        });
        done.await.ok().flatten()
    }
}

fn hash(argon2: &Argon2<'_>, password: &str) -> Option<String> {
    argon2
        .hash_password(password.as_bytes())
        .ok()
        .map(|hash| hash.to_string())
}
