//! At most one push per user and room in a while. Pure: time is an argument.
//!
//! ```text
//! message ─> no window: push, window opens ─> messages within it: the newest is held, counted
//! window ends: something is held ─> push, next window; nothing is held ─> forgotten
//! the user reads the room ─> forgotten
//! ```

use std::time::{Duration, Instant};

use hashbrown::HashMap;
use hub_protocol::{RoomId, UserId};

/// Windows at a time; above it pushes are left out until some end.
const WINDOWS_MAX: usize = 65_536;

/// A message that may be worth a push.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct News {
    pub(super) seq: u64,
    pub(super) sender: UserId,
    pub(super) text: String,
}

/// A push that is to go now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Due {
    pub(super) user: UserId,
    pub(super) room: RoomId,
    pub(super) news: News,
    /// Messages that it stands for.
    pub(super) count: u32,
}

#[derive(Debug)]
struct Window {
    ends: Instant,
    seq: u64,
    held: Option<(News, u32)>,
}

/// All windows that are open.
#[derive(Debug)]
pub(super) struct Collapse {
    window: Duration,
    windows: HashMap<(UserId, RoomId), Window>,
}

impl Collapse {
    pub(super) fn new(window: Duration) -> Self {
        let windows = HashMap::new();
        Self { window, windows }
    }

    /// A message for a user: a push now, or later, or never if it was told before.
    pub(super) fn offer(&mut self, user: UserId, room: RoomId, news: &News, now: Instant) -> Option<Due> {
        let is_full = self.windows.len() >= WINDOWS_MAX;
        match self.windows.get_mut(&(user, room)) {
            Some(window) if news.seq <= window.seq => None,
            Some(window) => {
                window.seq = news.seq;
                let count = window.held.as_ref().map_or(0, |(_, count)| *count);
                window.held = Some((news.clone(), count.saturating_add(1)));
                None
            }
            None if is_full => None,
            None => {
                let window = Window {
                    ends: now + self.window,
                    seq: news.seq,
                    held: None,
                };
                self.windows.insert((user, room), window);
                let news = news.clone();
                Some(Due {
                    user,
                    room,
                    news,
                    count: 1,
                })
            }
        }
    }

    /// The user has read, or gets no pushes now: the next message starts anew.
    pub(super) fn forget(&mut self, user: UserId, room: RoomId) {
        self.windows.remove(&(user, room));
    }

    /// Pushes that were held and whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Due> {
        let mut due = Vec::new();
        let next = now + self.window;
        self.windows.retain(|(user, room), window| {
            if window.ends > now {
                return true;
            }
            let Some((news, count)) = window.held.take() else {
                return false;
            };
            window.ends = next;
            let (user, room) = (*user, *room);
            due.push(Due {
                user,
                room,
                news,
                count,
            });
            true
        });
        due
    }

    pub(super) fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(30);

    fn news(seq: u64) -> News {
        News {
            seq,
            sender: UserId::NIL,
            text: format!("text {seq}"),
        }
    }

    fn seqs(due: &[Due]) -> Vec<(u64, u32)> {
        due.iter().map(|due| (due.news.seq, due.count)).collect()
    }

    #[test]
    fn one_push_goes_at_once_and_the_rest_as_one_when_the_window_ends() {
        let (user, room) = (UserId::from_bytes([1; 16]), RoomId::from_bytes([2; 16]));
        let mut collapse = Collapse::new(WINDOW);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(collapse.offer(user, room, &news(1), at(0)).is_some());
        for (seq, second) in [(2, 1), (3, 2), (3, 3), (2, 4)] {
            assert_eq!(collapse.offer(user, room, &news(seq), at(second)), None);
        }
        assert!(collapse.due(at(29)).is_empty());
        assert_eq!(seqs(&collapse.due(at(30))), [(3, 2)]);
        assert!(collapse.due(at(59)).is_empty());
        assert!(collapse.due(at(60)).is_empty() && collapse.is_empty());
        assert!(collapse.offer(user, room, &news(4), at(61)).is_some());
    }

    #[test]
    fn rooms_have_windows_of_their_own_and_reading_ends_them() {
        let user = UserId::from_bytes([1; 16]);
        let (one, two) = (RoomId::from_bytes([1; 16]), RoomId::from_bytes([2; 16]));
        let mut collapse = Collapse::new(WINDOW);
        let now = Instant::now();
        assert!(collapse.offer(user, one, &news(1), now).is_some());
        assert!(collapse.offer(user, two, &news(1), now).is_some());
        assert_eq!(collapse.offer(user, one, &news(2), now), None);
        collapse.forget(user, one);
        assert!(
            collapse.due(now + WINDOW).is_empty(),
            "what was held has been read"
        );
        assert!(collapse.offer(user, one, &news(3), now).is_some());
    }
}
