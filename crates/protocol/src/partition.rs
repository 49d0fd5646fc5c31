//! Which partition of a service works on a call.

use crate::ids::{RoomId, UserId};

/// How many partitions each service has. Comes from PostgreSQL by way of `hub:meta`; never changes while a system
/// runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Partitions {
    /// Of the auth service.
    pub auth: u16,
    /// Of the chat service.
    pub chat: u16,
    /// Of the user service.
    pub user: u16,
}

impl Partitions {
    /// The number of partitions of a service.
    pub const fn of(&self, service: crate::Service) -> u16 {
        match service {
            crate::Service::Auth => self.auth,
            crate::Service::Chat => self.chat,
            crate::Service::User => self.user,
        }
    }
}

/// The partition of a room: the last 8 bytes of its id, little-endian, modulo the count.
/// `partitions` must not be 0.
pub fn of_room(room: RoomId, partitions: u16) -> u16 {
    of_bytes(room.as_bytes(), partitions)
}

/// The partition of a user, by the same rule.
pub fn of_user(user: UserId, partitions: u16) -> u16 {
    of_bytes(user.as_bytes(), partitions)
}

fn of_bytes(id: &[u8; 16], partitions: u16) -> u16 {
    let tail = u64::from_le_bytes(*id.last_chunk().expect("sixteen bytes end in eight"));
    u16::try_from(tail % u64::from(partitions)).expect("a remainder is below its u16 divisor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_eight_bytes_decide() {
        let mut id = [0xFF; 16];
        id[8..].copy_from_slice(&21_u64.to_le_bytes());
        assert_eq!(of_room(RoomId::from_bytes(id), 16), 5);
        id[0] = 0;
        assert_eq!(of_user(UserId::from_bytes(id), 16), 5);
    }
}
