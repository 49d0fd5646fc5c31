//! `auth.request_reset` and `auth.reset_password`: a forgotten password, by a one-time code.
//!
//! A request is answered before anything is looked up, with a challenge that exists whether or not the account does;
//! a desk behind it stores and sends. So the answer and its time tell nothing, and no delivery is waited for. The code
//! is good for its challenge only: who does not hold that cannot guess, nor use up the tries.

use aws_lc_rs::{digest, hmac};
use hub_protocol::ErrorCode;
use hub_protocol::api::Empty;
use hub_protocol::api::auth::{Challenge, REASON_CODE_INVALID, RequestReset, ResetPassword};
use hub_protocol::limits::CODE_S;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::accounts::{Accounts, Stop, check_password};
use super::audit::Who;
use super::device::DeviceToken;
use super::limits::Key;
use super::otp::random;
use super::store::account;
use super::store::code::{self, Reset, Sealed};
use crate::call::{json, now_us, params, refuse};
use crate::mail::{Mailer, Message};
use crate::service::{Call, Outcome};
use crate::store::Store;

/// Requests that wait for the desk.
const WAITING_MAX: usize = 1_024;

/// A request on its way to the desk.
#[derive(Debug)]
pub(super) struct Job {
    challenge: Uuid,
    name: String,
    who: Who,
}

impl Accounts {
    pub(super) async fn request_reset(&self, call: &Call) -> Result<Outcome, Stop> {
        let asked: RequestReset = params(call)?;
        self.check_outbox()?;
        // Nothing is looked up for those who show no token.
        let mut keys = Self::stranger(call, Key::Mail(self.name_hash(&asked.username)));
        if let Some(token) = asked.device_token.as_deref().and_then(DeviceToken::read) {
            let found = account::find_by_name(&self.store, &asked.username, Some(&token)).await?;
            if let Some(account) = found.filter(|account| account.device.is_some()) {
                keys = vec![Key::OwnMail(account.user.id.0)];
            }
        }
        self.limits.take(&keys, now_us())?;
        let challenge = Uuid::new_v4();
        let job = Job {
            challenge,
            name: asked.username,
            who: self.who(call),
        };
        if self.resets.try_send(job).is_err() {
            let busy = refuse(ErrorCode::Busy, "too many people ask for codes at the moment");
            return Err(busy.retry_after_ms(5_000).into());
        }
        Ok(Outcome::result(json(&Challenge {
            challenge,
            expires_in: CODE_S,
        })))
    }

    pub(super) async fn reset_password(&self, call: &Call) -> Result<Outcome, Stop> {
        let asked: ResetPassword = params(call)?;
        check_password(&asked.password)?;
        if let Some(address) = call.header.origin() {
            self.limits.take(&[Key::Address(address)], now_us())?;
        }
        // The same work whether or not the code fits.
        let hash = self.hash(&asked.password).await?;
        let sealed = seal(&self.refresh_key, asked.challenge, &asked.code);
        let invalid = || {
            let error = refuse(ErrorCode::Unauthenticated, "the code is wrong, too old or used");
            Stop::from(error.reason(REASON_CODE_INVALID))
        };
        let revoked =
            match code::reset_password(&self.store, &self.who(call), &sealed, &hash, now_us()).await? {
                Reset::Done(revoked) => revoked,
                Reset::Bad => return Err(invalid()),
                // The same call once more, if the password is the one that it set.
                Reset::Again(user) => {
                    let account = account::find_by_id(&self.store, user).await?;
                    let hash = account.as_ref().map(|account| account.hash.as_str());
                    if !self.verify(&asked.password, hash).await {
                        return Err(invalid());
                    }
                    account::revoked_by_change(&self.store, user).await?
                }
            };
        Ok(Outcome {
            revoked,
            ..Outcome::result(json(&Empty {}))
        })
    }

    /// Refuses what needs a message where none is sent.
    pub(super) fn check_outbox(&self) -> Result<(), Stop> {
        if self.mailer.can_send() {
            return Ok(());
        }
        let error = refuse(
            ErrorCode::Forbidden,
            "this system sends no messages: see [outbox]",
        );
        Err(error.reason("no_outbox").into())
    }
}

/// A new code: eight digits.
pub(super) fn make_code() -> Option<String> {
    // 2^64 is no multiple of 10^8; the odds of any code differ from the others' by less than 10^-11.
    Some(format!("{:08}", u64::from_le_bytes(random()?) % 100_000_000))
}

/// What is stored of a code, and what it is found and compared by.
pub(super) fn seal(key: &hmac::Key, challenge: Uuid, code: &str) -> Sealed {
    let mut context = hmac::Context::with_key(key);
    context.update(b"code");
    context.update(challenge.as_bytes());
    // Spaces that people type for legibility do not count.
    let digits: String = code.chars().filter(|c| !c.is_whitespace()).take(64).collect();
    context.update(digits.as_bytes());
    Sealed {
        id: digest::digest(&digest::SHA256, challenge.as_bytes())
            .as_ref()
            .to_vec(),
        hash: context.sign().as_ref().to_vec(),
    }
}

/// When a code ends that is made now, µs.
pub(super) fn code_end(now: i64) -> i64 {
    now + i64::try_from(CODE_S).unwrap_or(i64::MAX / 2_000_000) * 1_000_000
}

/// Starts the desk: it ends with the last sender.
pub(super) fn start(store: Store, mailer: Mailer, key: hmac::Key) -> mpsc::Sender<Job> {
    let (sender, mut waiting) = mpsc::channel::<Job>(WAITING_MAX);
    tokio::spawn(async move {
        while let Some(job) = waiting.recv().await {
            let Some(code) = make_code() else { continue };
            let sealed = seal(&key, job.challenge, &code);
            let now = now_us();
            let stored = code::insert_reset(&store, &job.who, &job.name, &sealed, (now, code_end(now))).await;
            match stored {
                Ok(Some(to)) => mailer.offer(Message {
                    to,
                    subject: "Your code for a new password",
                    text: format!(
                        "Your code for a new password: {code}\n\nIt is good for 15 minutes. If you did not ask for \
                         it, somebody typed your user name;\nyour password stays as it is.\n"
                    ),
                }),
                Ok(None) => {}
                // Whoever waits for the message asks again.
                Err(error) => tracing::warn!(%error, "a request for a new password is dropped"),
            }
        }
    });
    sender
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_belongs_to_its_challenge() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let code = make_code().unwrap();
        assert!(
            code.len() == 8 && code.bytes().all(|byte| byte.is_ascii_digit()),
            "{code}"
        );
        let sealed = seal(&key, one, &code);
        assert_eq!(
            sealed.hash,
            seal(&key, one, &format!(" {} {}", &code[..4], &code[4..])).hash
        );
        assert_ne!(sealed.hash, seal(&key, two, &code).hash);
        assert_ne!(sealed.id, seal(&key, two, &code).id);
    }
}
