//! What a message carries beside its text. Most carry nothing, so it stands behind one pointer. Pure.

use hub_protocol::UserId;
use hub_protocol::api::entity::{Entity, EntityType};
use hub_protocol::api::message::{Message, Origin, Reaction, Replies};
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;
use uuid::Uuid;

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Extras {
    pub(super) reply_to: Option<i64>,
    pub(super) thread: Option<i64>,
    pub(super) forward: Option<Origin>,
    pub(super) entities: Vec<Entity>,
    /// Members who are mentioned; [`UserId::NIL`] stands for everybody.
    pub(super) mentions: Vec<UserId>,
    pub(super) edited_at: Option<i64>,
    pub(super) deleted_at: Option<i64>,
    /// Not in the row of the message: filled in for answers.
    pub(super) reactions: Vec<Reaction>,
    /// Like `reactions`.
    pub(super) replies: Option<Replies>,
}

/// The column `extras`.
#[derive(Default, Serialize, Deserialize)]
struct Stored {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    forward: Option<Origin>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    entities: Vec<Entity>,
}

impl Extras {
    /// The extras of a row whose columns `reply_to`, `thread`, `extras`, `mentions`, `edited_at`, `deleted_at`
    /// begin at `first`; `None` for a plain message.
    pub(super) fn read(row: &Row, first: usize) -> Option<Box<Self>> {
        let mentions: Option<Vec<Uuid>> = row.get(first + 3);
        let stored = entities_and_origin(row.get(first + 2));
        let extras = Self {
            reply_to: row.get(first),
            thread: row.get(first + 1),
            forward: stored.forward,
            entities: stored.entities,
            mentions: mentions.unwrap_or_default().into_iter().map(UserId).collect(),
            edited_at: row.get(first + 4),
            deleted_at: row.get(first + 5),
            ..Self::default()
        };
        (extras != Self::default()).then(|| Box::new(extras))
    }

    /// The column `extras`.
    pub(super) fn stored(&self) -> Option<String> {
        stored(self.forward, &self.entities)
    }

    /// The column `mentions`.
    pub(super) fn mentioned(&self) -> Option<Vec<Uuid>> {
        (!self.mentions.is_empty()).then(|| self.mentions.iter().map(|user| user.0).collect())
    }

    /// Adds them to a message.
    pub(super) fn fill(&self, message: &mut Message) {
        message.reply_to = self.reply_to.map(i64::unsigned_abs);
        message.thread = self.thread.map(i64::unsigned_abs);
        message.forward = self.forward;
        message.entities.clone_from(&self.entities);
        message.edited_at = self.edited_at;
        message.deleted = self.deleted_at.is_some();
        message.reactions.clone_from(&self.reactions);
        message.replies = self.replies;
    }
}

/// The JSON of an origin and entities; `None` if there is neither.
pub(super) fn stored(forward: Option<Origin>, entities: &[Entity]) -> Option<String> {
    if forward.is_none() && entities.is_empty() {
        return None;
    }
    let stored = Stored {
        forward,
        entities: entities.to_vec(),
    };
    Some(serde_json::to_string(&stored).expect("our types have string keys only"))
}

/// The entities of a column `extras`.
pub(super) fn entities(text: Option<&str>) -> Vec<Entity> {
    entities_and_origin(text).entities
}

fn entities_and_origin(text: Option<&str>) -> Stored {
    // Only a hand that writes into the table can bring about what is not read.
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Whom a text mentions, by its entities: sorted, each once, [`UserId::NIL`] for everybody.
pub(super) fn mentions(entities: &[Entity]) -> Vec<UserId> {
    let user = |entity: &Entity| match entity.kind {
        EntityType::Room => Some(UserId::NIL),
        EntityType::Mention => entity.user,
        _ => None,
    };
    let mut users: Vec<UserId> = entities.iter().filter_map(user).collect();
    users.sort_unstable();
    users.dedup();
    users
}

/// Adds what the columns of [`Extras::read`] hold to a message of another service's answer.
pub(crate) fn fill(message: &mut Message, row: &Row, first: usize) {
    if let Some(extras) = Extras::read(row, first) {
        extras.fill(message);
    }
}
