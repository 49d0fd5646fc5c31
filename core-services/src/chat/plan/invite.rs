//! What links do: rows and answers.

use hub_protocol::RoomId;
use hub_protocol::api::invite::{Invite, InviteCreated};
use uuid::Uuid;

use super::{Planned, Planner};
use crate::call::json;
use crate::chat::command::{Command, Write, code_hash};
use crate::chat::facts::Link;
use crate::chat::room::Room;
use crate::chat::rules::invite::default_role;
use crate::service::Outcome;

impl Planner {
    pub(super) fn link_made(&mut self, write: &Write, room: &Room) -> Planned {
        let Command::CreateInvite(params, code) = &write.command else {
            unreachable!("only invite.create makes a link")
        };
        let hash = code_hash(code).expect("a code of ours is short");
        let info = Invite {
            // As hard to guess as the code, and does not tell it.
            id: uuid::Builder::from_custom_bytes(hash).into_uuid(),
            created_by: write.actor,
            created_at: self.now,
            role: params.role.unwrap_or(default_role(room.info.kind)),
            expires_at: params.expires_in_s.map(|s| self.now + i64::from(s) * 1_000_000),
            uses_max: params.uses_max,
            uses: 0,
        };
        let link = Link { info, code: hash };
        self.forget_dead_links(write.room);
        self.facts.links.entry(write.room).or_default().push(link);
        self.plan.rows.links.insert((write.room, info.id), Some(link));
        let result = |duplicate, code: &str| {
            json(&InviteCreated {
                invite: info,
                code: code.to_owned(),
                duplicate,
            })
        };
        // The code itself is stored nowhere; a repeat of the call computes it again.
        self.remember(write, &result(true, ""));
        Planned::Done(Outcome::result(result(false, code)))
    }

    pub(super) fn link_revoked(&mut self, write: &Write, link: Uuid) -> Planned {
        if let Some(links) = self.facts.links.get_mut(&write.room) {
            links.retain(|other| other.info.id != link);
        }
        self.plan.rows.links.insert((write.room, link), None);
        self.silently(write)
    }

    /// Counts one more use.
    pub(super) fn link_used(&mut self, room: RoomId, link: Uuid) {
        let links = self.facts.links.entry(room).or_default();
        if let Some(used) = links.iter_mut().find(|other| other.info.id == link) {
            used.info.uses += 1;
            self.plan.rows.links.insert((room, link), Some(*used));
        }
    }

    /// Bound: whoever makes a link clears those away that let nobody in any more.
    fn forget_dead_links(&mut self, room: RoomId) {
        let now = self.now;
        let links = self.facts.links.entry(room).or_default();
        for dead in links.iter().filter(|link| !link.is_live(now)) {
            self.plan.rows.links.insert((room, dead.info.id), None);
        }
        links.retain(|link| link.is_live(now));
    }
}
