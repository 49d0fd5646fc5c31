//! The SQL of profiles, contacts and blocks.

use hub_protocol::api::user::{Done, Profile, Updated, Visible};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::CONTACTS_MAX;
use hub_protocol::{ErrorCode, UserId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::command::{Command, Write};
use super::words;
use crate::applied::{Applied, Change};
use crate::call::{json, refuse};
use crate::push;
use crate::store::{StoreError, Tx};
use bytes::Bytes;

/// Contacts that are told of a changed profile; more see it with their next `user.get`.
const TOLD_MAX: i64 = 500;

/// The columns of a [`Profile`], of `users u`.
macro_rules! profile {
    () => {
        "u.id, u.username, u.display_name, u.created_at, u.about, u.avatar, u.deleted_at IS NOT NULL"
    };
}
pub(super) use profile;

/// A condition: neither of `$1` and `u` has blocked the other.
macro_rules! unblocked {
    () => {
        "NOT EXISTS (SELECT FROM blocks b WHERE b.user_id = $1 AND b.blocked = u.id) \
         AND NOT EXISTS (SELECT FROM blocks b WHERE b.user_id = u.id AND b.blocked = $1)"
    };
}
pub(super) use unblocked;

/// Reads the columns of `profile!`, the first of them at `first`.
pub(super) fn read_profile(row: &Row, first: usize) -> Profile {
    Profile {
        id: UserId(row.get(first)),
        username: row.get(first + 1),
        display_name: row.get(first + 2),
        created_at: row.get(first + 3),
        about: row.get(first + 4),
        avatar: row.get(first + 5),
        deleted: row.get(first + 6),
    }
}

/// Reads a column of `last_seen_visible`, which has a check of its own.
pub(super) fn visible(row: &Row, at: usize) -> Visible {
    Visible::find(row.get(at)).unwrap_or(Visible::Nobody)
}

/// What a change led to.
#[derive(Debug)]
pub(super) struct Written {
    /// The result, or the refusal.
    pub(super) reply: Result<Bytes, ErrorBody>,
    /// Who else hears of it.
    pub(super) effect: Effect,
}

/// What follows from a change beside its answer.
#[derive(Debug)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// These users are told of a profile.
    Profile(Profile, Vec<UserId>),
    /// These two see each other no more, or again.
    Blocks(UserId, UserId),
}

impl Written {
    fn refused(error: ErrorBody) -> Self {
        let (reply, effect) = (Err(error), Effect::None);
        Self { reply, effect }
    }
}

/// Applies changes in their order, in the transaction of the caller.
pub(super) async fn apply(
    tx: &Tx,
    writes: &[Result<Write, ErrorBody>],
    now: i64,
) -> Result<Vec<Written>, StoreError> {
    let changes: Vec<Change> = writes
        .iter()
        .filter_map(|write| write.as_ref().ok())
        .map(|write| write.change)
        .collect();
    if changes.is_empty() {
        let refused = writes.iter().filter_map(|write| write.as_ref().err().cloned());
        return Ok(refused.map(Written::refused).collect());
    }
    let actors = lock(tx, &changes).await?;
    let mut applied = Applied::load(tx, &changes).await?;
    let mut written = Vec::with_capacity(writes.len());
    for write in writes {
        let write = match write {
            Ok(write) => write,
            Err(error) => {
                written.push(Written::refused(error.clone()));
                continue;
            }
        };
        written.push(match applied.find(&write.change) {
            Err(conflict) => Written::refused(conflict),
            Ok(Some(result)) => Written {
                reply: Ok(result),
                effect: Effect::None,
            },
            Ok(None) if !actors.contains(&write.change.actor.0) => {
                Written::refused(refuse(ErrorCode::NotFound, "the account is gone"))
            }
            Ok(None) => {
                let done = execute(tx, write, now).await?;
                if let Ok(result) = &done.reply {
                    applied.add(write.change, result.clone());
                }
                done
            }
        });
    }
    applied.save(tx, now).await?;
    Ok(written)
}

/// Locks the accounts of all actors, in id order; returns those that exist.
async fn lock(tx: &Tx, changes: &[Change]) -> Result<Vec<Uuid>, StoreError> {
    const SQL: &str = "SELECT id FROM users WHERE id = ANY($1) AND deleted_at IS NULL \
         ORDER BY id FOR NO KEY UPDATE";
    let mut ids: Vec<Uuid> = changes.iter().map(|change| change.actor.0).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows = tx.query(SQL, &[&ids]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn execute(tx: &Tx, write: &Write, now: i64) -> Result<Written, StoreError> {
    let me = write.change.actor;
    let done = |effect| Written {
        reply: Ok(json(&Done { duplicate: false })),
        effect,
    };
    match &write.command {
        Command::Update(asked) => update(tx, me, asked).await,
        Command::SetContact(asked) => {
            const SQL: &str = "INSERT INTO contacts (user_id, contact, alias, created_at) \
                 SELECT $1, u.id, $3, $4 FROM users u WHERE u.id = $2 AND u.deleted_at IS NULL \
                 ON CONFLICT (user_id, contact) DO UPDATE SET alias = EXCLUDED.alias";
            const COUNT: &str = "SELECT count(*) FROM contacts WHERE user_id = $1 AND contact <> $2";
            if is_full(tx, COUNT, me, asked.user).await? {
                return Ok(Written::refused(refuse(
                    ErrorCode::TooLarge,
                    "at most 5000 contacts",
                )));
            }
            let rows = tx
                .execute(SQL, &[&me.0, &asked.user.0, &asked.alias, &now])
                .await?;
            Ok(if rows == 1 {
                done(Effect::None)
            } else {
                no_such_user()
            })
        }
        Command::RemoveContact(user) => {
            const SQL: &str = "DELETE FROM contacts WHERE user_id = $1 AND contact = $2";
            tx.execute(SQL, &[&me.0, &user.0]).await?;
            Ok(done(Effect::None))
        }
        Command::Block(user) => {
            const SQL: &str = "INSERT INTO blocks AS b (user_id, blocked, created_at) \
                 SELECT $1, u.id, $3 FROM users u WHERE u.id = $2 \
                 ON CONFLICT (user_id, blocked) DO UPDATE SET created_at = b.created_at";
            const COUNT: &str = "SELECT count(*) FROM blocks WHERE user_id = $1 AND blocked <> $2";
            if is_full(tx, COUNT, me, *user).await? {
                return Ok(Written::refused(refuse(
                    ErrorCode::TooLarge,
                    "at most 5000 blocked users",
                )));
            }
            let rows = tx.execute(SQL, &[&me.0, &user.0, &now]).await?;
            Ok(if rows == 1 {
                done(Effect::Blocks(me, *user))
            } else {
                no_such_user()
            })
        }
        Command::Unblock(user) => {
            const SQL: &str = "DELETE FROM blocks WHERE user_id = $1 AND blocked = $2";
            tx.execute(SQL, &[&me.0, &user.0]).await?;
            Ok(done(Effect::Blocks(me, *user)))
        }
        Command::Subscribe(device, login) => {
            let reply = push::store::subscribe(tx, me, *login, device, now).await?;
            let effect = Effect::None;
            Ok(Written { reply, effect })
        }
        Command::Unsubscribe(id) => {
            push::store::unsubscribe(tx, me, *id).await?;
            Ok(done(Effect::None))
        }
    }
}

async fn update(tx: &Tx, me: UserId, asked: &hub_protocol::api::user::Update) -> Result<Written, StoreError> {
    const SQL: &str = concat!(
        "UPDATE users u SET display_name = coalesce($2, display_name), about = coalesce($3, about), \
             avatar = CASE WHEN $4 THEN $5 ELSE avatar END, \
             last_seen_visible = coalesce($6, last_seen_visible) \
         WHERE id = $1 RETURNING ",
        profile!(),
        ", u.last_seen_visible"
    );
    let avatar = asked.avatar.flatten();
    let visible_name = asked.last_seen_visible.map(Visible::name);
    let row = tx
        .query_opt(
            SQL,
            &[
                &me.0,
                &asked.display_name,
                &asked.about,
                &asked.avatar.is_some(),
                &avatar,
                &visible_name,
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(no_such_user()) };
    let user = read_profile(&row, 0);
    if asked.display_name.is_some() {
        replace_words(tx, &user).await?;
    }
    let told = told(tx, me).await?;
    let updated = Updated {
        user: user.clone(),
        last_seen_visible: visible(&row, 7),
        duplicate: false,
    };
    Ok(Written {
        reply: Ok(json(&updated)),
        effect: Effect::Profile(user, told),
    })
}

/// The words by which a user is found.
async fn replace_words(tx: &Tx, user: &Profile) -> Result<(), StoreError> {
    const DROP: &str = "DELETE FROM user_words WHERE user_id = $1 AND word <> ALL ($2)";
    const ADD: &str = "INSERT INTO user_words (word, user_id) SELECT w, $1 FROM unnest($2::text[]) AS w \
         ON CONFLICT DO NOTHING";
    let words = words::of_profile(&user.username, &user.display_name);
    tx.execute(DROP, &[&user.id.0, &words]).await?;
    tx.execute(ADD, &[&user.id.0, &words]).await?;
    Ok(())
}

/// The user himself, and those who keep him as a contact.
async fn told(tx: &Tx, me: UserId) -> Result<Vec<UserId>, StoreError> {
    const SQL: &str = concat!(
        "SELECT u.user_id FROM (SELECT user_id, user_id AS id FROM contacts WHERE contact = $1) u WHERE ",
        unblocked!(),
        " LIMIT $2"
    );
    let rows = tx.query(SQL, &[&me.0, &TOLD_MAX]).await?;
    let mut told: Vec<UserId> = rows.iter().map(|row| UserId(row.get(0))).collect();
    told.push(me);
    Ok(told)
}

async fn is_full(tx: &Tx, count: &str, me: UserId, other: UserId) -> Result<bool, StoreError> {
    let row = tx.query_opt(count, &[&me.0, &other.0]).await?;
    Ok(row.is_some_and(|row| row.get::<_, i64>(0) >= CONTACTS_MAX))
}

fn no_such_user() -> Written {
    Written::refused(refuse(ErrorCode::NotFound, "no such user"))
}
