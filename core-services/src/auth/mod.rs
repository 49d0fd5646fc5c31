//! Step 10 for accounts: registration, logins, passwords, one-time codes, second factors.
//!
//! | module | holds |
//! |---|---|
//! | `register`, `login`, `refresh` | the ways to tokens |
//! | `logins` | the list of logins, and their end |
//! | `password`, `reset`, `email` | passwords, known and forgotten, and the address that one-time codes go to |
//! | `totp`, `delete` | second factors, the end of an account |
//! | `accounts` | what all calls share: keys, limits, who calls |
//! | `hash` | argon2id, a few at a time |
//! | `limits` | how often somebody may try; pure |
//! | `token`, `device`, `otp` | access, refresh and device tokens, codes; pure |
//! | `audit` | the log of what happened |
//! | `tidy` | what ends by its age |
//! | `store` | the only SQL |
//!
//! Each call has a transaction of its own: hashing stays outside of transactions. Calls of accounts carry no op; a
//! repeat is recognised by what it says (a registration that was stored logs in, a refresh gives the same successor,
//! a password that is the new one already has been changed). Calls with a password run side by side, as many as
//! there are threads for their hashes; those without are of class [`Apart`](hub_protocol::Class::Apart) and never wait
//! for them.

mod accounts;
mod audit;
mod delete;
mod device;
mod email;
mod hash;
mod limits;
mod login;
mod logins;
mod otp;
mod password;
mod refresh;
mod register;
mod reset;
mod store;
pub mod tidy;
pub(crate) mod token;
mod totp;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hub_protocol::limits::CALL_WAIT_MS_MAX;
use hub_protocol::{ErrorCode, Method, Service};
use tokio::task::JoinSet;

use crate::call::refuse;
use crate::config::AuthConfig;
use crate::keys::Signer;
use crate::mail::Mailer;
use crate::service::{Call, Handler, Outcome, WorkError};
use crate::store::{Meta, Store};
use accounts::Accounts;

/// Calls of one batch whose hash has not begun after this are refused with `busy`: in a storm of logins nobody
/// waits for the end of the queue any more.
const HASH_WAIT_MAX: Duration = Duration::from_secs(4);
const _: () = assert!(HASH_WAIT_MAX.as_secs() * 2_000 <= CALL_WAIT_MS_MAX);
/// When such a call may come again, milliseconds.
const BUSY_RETRY_MS: u32 = 2_000;

/// The auth service.
#[derive(Debug)]
pub struct Auth {
    accounts: Arc<Accounts>,
    /// Calls with a password that are under way at a time. Twice the hashes, so that no thread waits for SQL.
    side_by_side: usize,
}

impl Auth {
    /// The service on a database. Starts a task that ends with it.
    pub fn new(
        store: Store,
        meta: &Meta,
        config: &AuthConfig,
        signer: Arc<Signer>,
        mailer: Mailer,
    ) -> Result<Self, String> {
        Ok(Self {
            accounts: Arc::new(Accounts::new(store, meta, config, signer, mailer)?),
            side_by_side: config.hash_threads * 2,
        })
    }

    /// Starts calls with a password until enough are under way or one would wait too long; refuses it then.
    fn start_hashing(
        &self,
        waiting: &mut VecDeque<(usize, Call)>,
        running: &mut JoinSet<(usize, Result<Outcome, WorkError>)>,
        waited: Duration,
    ) -> Vec<(usize, Outcome)> {
        let mut refused = Vec::new();
        while running.len() < self.side_by_side {
            let Some((place, call)) = waiting.pop_front() else {
                break;
            };
            if waited > HASH_WAIT_MAX {
                refused.push((place, busy()));
                continue;
            }
            let accounts = Arc::clone(&self.accounts);
            running.spawn(async move { (place, accounts.call(&call).await) });
        }
        refused
    }
}

/// True for calls that hash a password.
const fn is_hashed(method: Method) -> bool {
    matches!(
        method,
        Method::AuthRegister
            | Method::AuthLogin
            | Method::AuthChangePassword
            | Method::AuthResetPassword
            | Method::AuthSetEmail
            | Method::AuthDeleteAccount
            | Method::TotpEnroll
            | Method::TotpDisable
    )
}

impl Handler for Auth {
    fn service(&self) -> Service {
        Service::Auth
    }

    async fn write(&self, calls: &[Call]) -> Result<Vec<Outcome>, WorkError> {
        let began = Instant::now();
        let mut outcomes: Vec<Option<Outcome>> = calls.iter().map(|_| None).collect();
        // Bound: `side_by_side`. Dropped, it ends what it runs.
        let mut running = JoinSet::new();
        let (hashed, others): (Vec<_>, Vec<_>) = calls
            .iter()
            .enumerate()
            .partition(|(_, call)| is_hashed(call.header.method));
        let mut waiting: VecDeque<(usize, Call)> = hashed
            .into_iter()
            .map(|(place, call)| (place, call.clone()))
            .collect();
        self.start_hashing(&mut waiting, &mut running, Duration::ZERO);
        for (place, call) in others {
            outcomes[place] = Some(self.accounts.call(call).await?);
        }
        while let Some(done) = running.join_next().await {
            let (place, outcome) = done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            outcomes[place] = Some(outcome?);
            for (place, refused) in self.start_hashing(&mut waiting, &mut running, began.elapsed()) {
                outcomes[place] = Some(refused);
            }
        }
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.expect("every call ran, or was refused while another ended"))
            .collect())
    }

    async fn read(&self, call: &Call) -> Result<Outcome, WorkError> {
        self.accounts.call(call).await
    }

    fn forget(&self) {}
}

fn busy() -> Outcome {
    let refusal = refuse(ErrorCode::Busy, "too many people log in at the moment");
    Outcome::refused(refusal.retry_after_ms(BUSY_RETRY_MS))
}
