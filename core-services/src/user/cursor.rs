//! The text of a sync cursor: the database's epoch and the lowest transaction that was still running. Opaque to
//! clients; a text that is none means a sync from the start.

use hub_protocol::RoomId;

/// Where a sync stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cursor {
    /// Rows that were changed by this transaction or a later one come (again).
    pub(super) since: u64,
}

/// Where a sync of several pages goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Page {
    /// Rooms after this one.
    pub(super) after: RoomId,
    /// Where the whole sync started.
    pub(super) since: u64,
    /// The cursor of the first page, which the last page returns.
    pub(super) next: u64,
    /// Whether the whole sync is a reset.
    pub(super) reset: bool,
}

impl Cursor {
    pub(super) fn write(self, epoch: &str) -> String {
        format!("{epoch}.{:x}", self.since)
    }

    pub(super) fn read(text: &str, epoch: &str) -> Option<Self> {
        let since = text.strip_prefix(epoch)?.strip_prefix('.')?;
        u64::from_str_radix(since, 16).ok().map(|since| Self { since })
    }
}

impl Page {
    pub(super) fn write(self, epoch: &str) -> String {
        format!(
            "{epoch}.{}.{:x}.{:x}.{}",
            self.after,
            self.since,
            self.next,
            u8::from(self.reset)
        )
    }

    pub(super) fn read(text: &str, epoch: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(epoch)?.strip_prefix('.')?.split('.');
        let page = Self {
            after: parts.next()?.parse().ok()?,
            since: u64::from_str_radix(parts.next()?, 16).ok()?,
            next: u64::from_str_radix(parts.next()?, 16).ok()?,
            reset: parts.next()? == "1",
        };
        parts.next().is_none().then_some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back_and_others_are_none() {
        let cursor = Cursor { since: 0xAB12 };
        assert_eq!(Cursor::read(&cursor.write("e-1"), "e-1"), Some(cursor));
        assert_eq!(Cursor::read(&cursor.write("e-1"), "e-2"), None);
        let page = Page {
            after: RoomId::from_bytes([3; 16]),
            since: 1,
            next: 2,
            reset: true,
        };
        assert_eq!(Page::read(&page.write("e-1"), "e-1"), Some(page));
        for text in ["", ".", "e-1", "e-1.", "e-1.zz", "e-1.1.2.3.4"] {
            assert_eq!(
                (Cursor::read(text, "e-1"), Page::read(text, "e-1")),
                (None, None),
                "{text}"
            );
        }
    }
}
