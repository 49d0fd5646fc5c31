//! Bounds that more than one part relies on, tied together where they stand. What only one part needs is that
//! part's configuration.

/// A client's message on the wire, payload bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// The text of a chat message, UTF-8 bytes.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// A user name, bytes: lower-case ASCII letters, digits, `_`, `.`, `-`.
pub const USERNAME_BYTES_MAX: usize = 32;
/// See [`USERNAME_BYTES_MAX`].
pub const USERNAME_BYTES_MIN: usize = 3;
/// A password, UTF-8 bytes.
pub const PASSWORD_BYTES_MIN: usize = 8;
/// A password, UTF-8 bytes: bounds the work of hashing.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// What a user calls a device of his, UTF-8 bytes.
pub const DEVICE_NAME_BYTES_MAX: usize = 64;
/// An e-mail address, bytes (RFC 5321 §4.5.3.1.3).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Logins in one `auth.logins`: the ones used last.
pub const LOGINS_MAX: i64 = 200;
/// A one-time code lives this long, seconds.
pub const CODE_S: u64 = 15 * 60;
/// Wrong tries of a one-time code until it is void.
pub const CODE_TRIES_MAX: i16 = 5;
/// A room's name, UTF-8 bytes.
pub const ROOM_NAME_BYTES_MAX: usize = 128;
/// A room's topic, UTF-8 bytes.
pub const ROOM_TOPIC_BYTES_MAX: usize = 1024;
/// Rooms that one user makes in 24 hours.
pub const ROOMS_MADE_PER_DAY_MAX: i64 = 1_000;
/// The wait of slow mode, seconds.
pub const SLOW_MODE_S_MAX: u32 = 6 * 3600;
/// How long an own message may be edited, seconds.
pub const EDIT_WINDOW_S_MAX: u32 = 30 * 86_400;
/// Invites of one room that can still be used.
pub const INVITES_MAX: usize = 100;
/// The life of an invite that expires, seconds.
pub const INVITE_S_MAX: u32 = 365 * 86_400;
/// Members or bans in one page.
pub const MEMBERS_PAGE_MAX: u32 = 200;
/// An access token, bytes, before it is parsed.
pub const TOKEN_BYTES_MAX: usize = 4096;
/// Users of one `room.create`, the caller among them.
pub const ROOM_FIRST_MEMBERS_MAX: usize = 256;
/// Members of a room, whatever the configuration says: a service keeps them in memory while it works on the room.
pub const ROOM_MEMBERS_MAX: usize = 1_000_000;
/// A room with more members is large: one copy of an event per node, not one address per member.
pub const ROOM_LARGE_ABOVE: usize = 256;
/// A large room with fewer members is large no longer. Well below [`ROOM_LARGE_ABOVE`], so that a room does not
/// change back and forth with every member.
pub const ROOM_LARGE_BELOW: usize = 192;
/// Members in one `room.get`; there are pages of them for more.
pub const ROOM_GET_MEMBERS_MAX: usize = 256;
/// Large rooms in one answer to `room.large`.
pub const LARGE_ROOMS_PAGE: u32 = 512;
/// Large rooms that one session attaches to; what happens in others it hears by `sync`.
pub const LARGE_ROOMS_MAX: usize = 2_048;
/// Rooms in one `session.look`.
pub const LOOK_ROOMS_MAX: usize = 16;
/// Ids in one `user.get`.
pub const USER_GET_MAX: usize = 200;
/// A display name or an alias, UTF-8 bytes.
pub const DISPLAY_NAME_BYTES_MAX: usize = 128;
/// What a user says about himself, UTF-8 bytes.
pub const ABOUT_BYTES_MAX: usize = 256;
/// The words of one `user.search`, UTF-8 bytes.
pub const USER_SEARCH_BYTES_MAX: usize = 128;
/// Users in one page of `user.search`.
pub const USER_SEARCH_MAX: u32 = 50;
/// Users in one page of `contact.list` or `block.list`.
pub const USER_LIST_MAX: u32 = 100;
/// Contacts of one user, and users whom he has blocked.
pub const CONTACTS_MAX: i64 = 5_000;
/// Users whom one connection watches by name.
pub const PRESENCE_WATCH_MAX: usize = 200;
/// Members of a room whose presence is told one by one.
pub const PRESENCE_ROOM_MAX: usize = 500;
/// A watch is renewed every so often, milliseconds.
pub const PRESENCE_RENEW_MS: u64 = 60_000;
/// A watch that is not renewed ends after this, milliseconds.
pub const PRESENCE_WATCH_MS: u64 = 150_000;
/// Who closes his last connection is online for this much longer, milliseconds: a reconnect shows nothing.
pub const PRESENCE_LINGER_MS: u64 = 10_000;
/// A device that said that it is active gets no push for this long, milliseconds.
pub const PRESENCE_ACTIVE_MS: u64 = 60_000;
/// Where pushes go to, bytes.
pub const PUSH_ENDPOINT_BYTES_MAX: usize = 2_048;
/// Devices of one user that get pushes.
pub const PUSH_SUBSCRIPTIONS_MAX: i64 = 20;
/// Events in one `message.history`.
pub const HISTORY_EVENTS_MAX: u32 = 200;
/// Events in one `message.history` that names no limit.
pub const HISTORY_EVENTS_DEFAULT: u32 = 50;
/// Rooms in one page of `sync` or `room.list`.
pub const SYNC_ROOMS_MAX: u32 = 200;
/// Unread messages are counted exactly up to here.
pub const UNREAD_COUNT_MAX: u32 = 100;
/// Entities of a message.
pub const ENTITIES_MAX: usize = 100;
/// The address of a link, bytes.
pub const URL_BYTES_MAX: usize = 2_048;
/// All addresses of a message's links, bytes.
pub const URLS_BYTES_MAX: usize = 8 * 1024;
/// An emoji of a reaction, bytes: the longest sequences that fonts know have about 35.
pub const EMOJI_BYTES_MAX: usize = 64;
/// Kinds of reactions to one message.
pub const REACTION_KINDS_MAX: usize = 20;
/// Pinned messages of a room.
pub const PINS_MAX: usize = 100;
/// Edits of one message.
pub const EDITS_MAX: usize = 100;
/// Reactions, or former texts, in one page.
pub const OF_MESSAGE_MAX: u32 = 200;
/// Words to search for, bytes.
pub const QUERY_BYTES_MAX: usize = 256;
/// Messages in one page of a search.
pub const SEARCH_MAX: u32 = 50;
/// Messages in one page of a search that names no limit.
pub const SEARCH_DEFAULT: u32 = 20;
/// Nesting of JSON in a request.
pub const JSON_DEPTH_MAX: usize = 32;

/// One result, JSON bytes: lists are cut below it and say that there is more.
pub const RESULT_BYTES_MAX: usize = 128 * 1024;
/// Bytes that may wait for one connection (the edge's default bound).
pub const OUTBOUND_BYTES_MAX: usize = 256 * 1024;

/// Envelopes in one uplink batch.
pub const UPLINK_ENVELOPES_MAX: u32 = 1024;
/// One uplink batch, bytes.
pub const UPLINK_BYTES_MAX: usize = 256 * 1024;
/// Entries in one downlink batch.
pub const DOWNLINK_ENTRIES_MAX: u32 = 4096;
/// One downlink batch, bytes.
pub const DOWNLINK_BYTES_MAX: usize = 1024 * 1024;

/// An HTTP call waits this long for its answer, milliseconds.
pub const CALL_WAIT_MS_MAX: u64 = 10_000;
/// A read older than this has nobody waiting for it, milliseconds.
pub const READ_AGE_MS_MAX: u64 = 15_000;
/// An ephemeral call older than this says nothing any more, milliseconds.
pub const EPHEMERAL_AGE_MS_MAX: u64 = 5_000;
/// An access token lives this long, seconds.
pub const ACCESS_TOKEN_S: u64 = 15 * 60;
/// A session outlives its token by this much, seconds.
pub const TOKEN_GRACE_S: u64 = 25;

/// How often processes look at the keys folder, seconds.
pub const KEYS_LOOK_S: u64 = 2;
/// A new key signs and seals once it has been in the folder this long, seconds: by then everybody knows it.
pub const KEYS_SETTLE_S: u64 = 10;

/// Life of a directory entry, seconds; rewritten every [`DIRECTORY_SWEEP_S`].
pub const DIRECTORY_TTL_S: u64 = 180;
/// Every session's directory entry is rewritten once in this time, seconds.
pub const DIRECTORY_SWEEP_S: u64 = 60;
/// Life of a node's stream, seconds; renewed every [`NODE_RENEW_S`].
pub const NODE_TTL_S: u64 = 15;
/// See [`NODE_TTL_S`].
pub const NODE_RENEW_S: u64 = 3;
/// Life of the counter of lost batches, seconds.
pub const LOST_TTL_S: u64 = 60;
/// Life of a lease, milliseconds; renewed every [`LEASE_RENEW_MS`].
pub const LEASE_MS: u64 = 3_000;
/// See [`LEASE_MS`].
pub const LEASE_RENEW_MS: u64 = 1_000;

const _: () = {
    // An envelope or entry of the largest size still fits into an empty batch, with room for its header.
    assert!(MESSAGE_BYTES_MAX + 1024 <= UPLINK_BYTES_MAX);
    assert!(RESULT_BYTES_MAX + ROOM_LARGE_ABOVE * 64 <= DOWNLINK_BYTES_MAX);
    // Whoever makes a room makes one that is not large, and changes of one member do not flip it twice.
    assert!(ROOM_FIRST_MEMBERS_MAX <= ROOM_LARGE_ABOVE && ROOM_LARGE_BELOW < ROOM_LARGE_ABOVE);
    // The members of `room.get` and the rooms of `room.large` fit into a result.
    assert!(ROOM_GET_MEMBERS_MAX * 128 <= RESULT_BYTES_MAX);
    // A text that is all escapes (`\u0000` is refused, `\"` doubles) still fits into a message and a result.
    assert!(TEXT_BYTES_MAX * 2 + 1024 <= MESSAGE_BYTES_MAX);
    assert!(TEXT_BYTES_MAX * 6 + 1024 <= RESULT_BYTES_MAX);
    // So does a message with all that it may carry.
    assert!(TEXT_BYTES_MAX * 6 + ENTITIES_MAX * 128 + URLS_BYTES_MAX * 2 + 2048 <= RESULT_BYTES_MAX);
    // A result always fits into an empty outbound queue.
    assert!(RESULT_BYTES_MAX * 2 <= OUTBOUND_BYTES_MAX);
    // A missed renewal is no loss.
    assert!(NODE_TTL_S >= 4 * NODE_RENEW_S);
    assert!(KEYS_SETTLE_S >= 4 * KEYS_LOOK_S);
    assert!(LEASE_MS >= 3 * LEASE_RENEW_MS);
    assert!(DIRECTORY_TTL_S >= 3 * DIRECTORY_SWEEP_S);
    // One renewal that is late or lost ends no watch.
    assert!(PRESENCE_WATCH_MS >= 2 * PRESENCE_RENEW_MS);
    // Nobody waits for a read that is dropped.
    assert!(CALL_WAIT_MS_MAX < READ_AGE_MS_MAX);
};
