//! Who may make, end and use links.

use hub_protocol::api::room::{Role, RoomKind};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::INVITES_MAX;
use hub_protocol::{ErrorCode, UserId};
use uuid::Uuid;

use super::member::adder;
use super::{Change, member};
use crate::call::refuse;
use crate::chat::command::CodeHash;
use crate::chat::facts::{Facts, Link};
use crate::chat::room::Room;

/// As what users come in by a link that does not say.
pub(in crate::chat) fn default_role(kind: RoomKind) -> Role {
    match kind {
        RoomKind::Channel => Role::Reader,
        RoomKind::Direct | RoomKind::Group => Role::Member,
    }
}

pub(super) fn create(room: &Room, actor: UserId, facts: &Facts) -> Result<Change, ErrorBody> {
    adder(room, actor)?;
    let live = links(room, facts).iter().filter(|link| link.is_live(facts.now));
    if live.count() >= INVITES_MAX {
        return Err(refuse(ErrorCode::TooLarge, "a room has at most 100 invites"));
    }
    Ok(Change::LinkMade)
}

pub(super) fn revoke(room: &Room, actor: UserId, id: Uuid, facts: &Facts) -> Result<Change, ErrorBody> {
    let stay = member(room, actor)?;
    let link = links(room, facts).iter().find(|link| link.info.id == id);
    // Whoever made it may end it; for others it is not there, unless they manage members.
    if stay.role < Role::Admin && link.is_none_or(|link| link.info.created_by != actor) {
        return Err(refuse(
            ErrorCode::Forbidden,
            "only admins end the invites of others",
        ));
    }
    Ok(link.map_or(Change::Already, |link| Change::LinkRevoked { link: link.info.id }))
}

pub(super) fn accept(
    room: &Room,
    actor: UserId,
    code: &CodeHash,
    facts: &Facts,
) -> Result<Change, ErrorBody> {
    let found = links(room, facts).iter().find(|link| link.code == *code);
    let link = found.filter(|link| link.is_live(facts.now));
    if room.find(actor).is_some() {
        return Ok(Change::Already);
    }
    let link = link.ok_or_else(no_such_invite)?;
    if facts.is_banned(room.info.id, actor) || facts.is_blocked(actor, link.info.created_by) {
        return Err(not_for_you());
    }
    let (link, role) = (link.info.id, link.info.role);
    Ok(match room.info.kind {
        RoomKind::Channel if role == Role::Reader => Change::AcceptedQuietly { link },
        _ => Change::Accepted { link, role },
    })
}

/// The code is wrong, expired, used up or revoked, or the room is gone: one answer for all.
pub(in crate::chat) fn no_such_invite() -> ErrorBody {
    refuse(ErrorCode::NotFound, "no such invite")
}

/// One answer for bans and blocks.
pub(in crate::chat) fn not_for_you() -> ErrorBody {
    refuse(ErrorCode::Forbidden, "the room cannot be entered")
}

fn links<'a>(room: &Room, facts: &'a Facts) -> &'a [Link] {
    facts.links.get(&room.info.id).map_or(&[], Vec::as_slice)
}
