//! `room.large`: the large rooms of a user, which an edge asks for when it has registered a session of his.

use hub_protocol::RoomId;
use hub_protocol::api::room::{LargeList, LargeRooms};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::LARGE_ROOMS_PAGE;

use crate::call::params;
use crate::service::Call;
use crate::store::{Store, StoreError};

pub(super) async fn rooms(store: &Store, call: &Call) -> Result<Result<LargeList, ErrorBody>, StoreError> {
    const SQL: &str = "SELECT m.room FROM members m JOIN rooms r ON r.id = m.room AND r.large \
         WHERE m.user_id = $1 AND m.to_seq IS NULL AND m.room > $2 ORDER BY m.room LIMIT $3";
    let asked: LargeRooms = match params(call) {
        Ok(asked) => asked,
        Err(error) => return Ok(Err(error)),
    };
    // One more than a page tells whether there is more.
    let wanted = i64::from(LARGE_ROOMS_PAGE) + 1;
    let rows = store
        .query("room.large", SQL, &[&call.header.user.0, &asked.after.0, &wanted])
        .await?;
    let mut rooms: Vec<RoomId> = rows.iter().map(|row| RoomId(row.get(0))).collect();
    let more = rooms.len() >= usize::try_from(wanted).unwrap_or(usize::MAX);
    if more {
        rooms.pop();
    }
    Ok(Ok(LargeList { rooms, more }))
}
