//! The table of calls. Adding a method is adding a row: its name on the wire, its code in envelopes, the service
//! that answers, what routes it, and how it may be scheduled.

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Service {
    /// Accounts, logins, tokens.
    Auth,
    /// Rooms and their logs.
    Chat,
    /// Profiles, and reads that span a user's rooms.
    User,
}

impl Service {
    /// All services, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Auth, Self::Chat, Self::User];

    /// Its name in keys, metrics and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Chat => "chat",
            Self::User => "user",
        }
    }
}

/// What decides the partition of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// Answered by the edge itself.
    Edge,
    /// The room named in the request, which must be present.
    Room,
    /// The calling user.
    User,
    /// Nobody yet: any partition will do.
    Any,
}

/// How a call may be scheduled and when it may be dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Changes what is stored: keeps its place in the partition's order, never dropped.
    Write,
    /// Changes what is stored in a transaction of its own that needs no place in an order and may be repeated: runs
    /// beside writes, dropped when nobody can be waiting any more.
    Apart,
    /// Only reads: runs beside writes, dropped when nobody can be waiting any more.
    Read,
    /// Only passes something on: dropped when old, never stored.
    Ephemeral,
}

/// Who may make a call, and on which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Anyone, without a token, by `POST /v1/rpc` only: passwords and refresh tokens never cross a session.
    Public,
    /// Who has a token, by `POST /v1/rpc` only: it carries a password.
    Http,
    /// Who has a token, on either way.
    Session,
    /// The edge alone, for a session of its own: no client may name it.
    Internal,
}

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, $service:ident, $route:ident, $class:ident, $access:ident;)*) => {
        /// A call of the client protocol. The discriminant is its code in envelopes and never changes.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u16)]
        pub enum Method { $($(#[$doc])* $variant = $code,)* }

        impl Method {
            /// Every method, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The method of a name on the wire, if a client may call it.
            pub fn find(name: &str) -> Option<Self> {
                let method = match name { $($name => Self::$variant,)* _ => return None };
                (!matches!(method.access(), Access::Internal)).then_some(method)
            }

            /// The method of a code in an envelope.
            pub const fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// Who answers. Methods routed to [`Route::Edge`] never leave the edge.
            pub const fn service(self) -> Service {
                match self { $(Self::$variant => Service::$service,)* }
            }

            /// What decides the partition.
            pub const fn route(self) -> Route {
                match self { $(Self::$variant => Route::$route,)* }
            }

            /// How it may be scheduled.
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }

            /// Who may make it.
            pub const fn access(self) -> Access {
                match self { $(Self::$variant => Access::$access,)* }
            }
        }
    };
}

methods! {
    /// Makes an account and logs it in.
    AuthRegister = 1, "auth.register", Auth, Any, Write, Public;
    /// Opens a login with a password.
    AuthLogin = 2, "auth.login", Auth, Any, Write, Public;
    /// Renews a login by its refresh token.
    AuthRefresh = 3, "auth.refresh", Auth, Any, Apart, Public;
    /// Ends the calling login.
    AuthLogout = 4, "auth.logout", Auth, User, Apart, Session;
    /// The caller's logins, one per device.
    AuthLogins = 5, "auth.logins", Auth, User, Read, Session;
    /// Ends another login of the caller.
    AuthRevokeLogin = 6, "auth.revoke_login", Auth, User, Apart, Session;
    /// Replaces the password by another one.
    AuthChangePassword = 7, "auth.change_password", Auth, User, Write, Http;
    /// Has a one-time code sent to the address of an account.
    AuthRequestReset = 8, "auth.request_reset", Auth, Any, Apart, Public;
    /// Replaces a forgotten password with the help of that code.
    AuthResetPassword = 9, "auth.reset_password", Auth, Any, Write, Public;
    /// Ends the account.
    AuthDeleteAccount = 10, "auth.delete_account", Auth, User, Write, Http;
    /// Makes a secret for a second factor, which is not in force yet.
    TotpEnroll = 11, "totp.enroll", Auth, User, Write, Http;
    /// Puts the second factor into force by a first code.
    TotpConfirm = 12, "totp.confirm", Auth, User, Write, Http;
    /// Takes the second factor away.
    TotpDisable = 13, "totp.disable", Auth, User, Write, Http;
    /// Sets the address for one-time codes, once it is confirmed.
    AuthSetEmail = 14, "auth.set_email", Auth, User, Write, Http;
    /// Confirms that address by the code that was sent there.
    AuthConfirmEmail = 15, "auth.confirm_email", Auth, User, Apart, Http;

    /// The caller's own profile.
    UserMe = 16, "user.me", User, User, Read, Session;
    /// Profiles by id.
    UserGet = 17, "user.get", User, User, Read, Session;
    /// The caller's rooms.
    RoomList = 18, "room.list", User, User, Read, Session;
    /// What changed in the caller's rooms since a cursor.
    Sync = 19, "sync", User, User, Read, Session;
    /// Users by the start of their name.
    UserSearch = 20, "user.search", User, User, Read, Session;
    /// Changes the caller's profile.
    UserUpdate = 21, "user.update", User, User, Write, Session;
    /// The caller's contacts.
    ContactList = 22, "contact.list", User, User, Read, Session;
    /// Makes a user a contact, or gives him another name.
    ContactSet = 23, "contact.set", User, User, Write, Session;
    /// Takes a contact away.
    ContactRemove = 24, "contact.remove", User, User, Write, Session;
    /// Users whom the caller has blocked.
    BlockList = 25, "block.list", User, User, Read, Session;
    /// Blocks a user.
    BlockAdd = 26, "block.add", User, User, Write, Session;
    /// Ends a block.
    BlockRemove = 27, "block.remove", User, User, Write, Session;
    /// Looks at the presence of some users from this connection.
    PresenceWatch = 28, "presence.watch", User, User, Read, Session;
    /// Says whether the caller is active on this connection.
    PresenceSet = 29, "presence.set", User, User, Ephemeral, Session;
    /// A session opened, or ended.
    PresenceSession = 30, "presence.session", User, User, Ephemeral, Internal;
    /// Messages of all rooms of the caller that hold some words.
    Search = 31, "search", User, User, Read, Session;

    /// Makes a room.
    RoomCreate = 32, "room.create", Chat, Room, Write, Session;
    /// One room with its members.
    RoomGet = 33, "room.get", Chat, Room, Read, Session;
    /// Joins a channel.
    RoomJoin = 34, "room.join", Chat, Room, Write, Session;
    /// Leaves a room.
    RoomLeave = 35, "room.leave", Chat, Room, Write, Session;
    /// Adds a user to a room.
    MemberAdd = 36, "member.add", Chat, Room, Write, Session;
    /// Removes a user from a room.
    MemberRemove = 37, "member.remove", Chat, Room, Write, Session;
    /// Stores a message.
    MessageSend = 38, "message.send", Chat, Room, Write, Session;
    /// A range of a room's log.
    MessageHistory = 39, "message.history", Chat, Room, Read, Session;
    /// Tells the room that the caller is typing.
    TypingSet = 40, "typing.set", Chat, Room, Ephemeral, Session;
    /// Moves the caller's read mark.
    ReceiptRead = 41, "receipt.read", Chat, Room, Write, Session;
    /// Changes what a room is called and how it is used.
    RoomUpdate = 42, "room.update", Chat, Room, Write, Session;
    /// The members of a room, page by page.
    MemberList = 43, "member.list", Chat, Room, Read, Session;
    /// Gives a member another role; that of the owner is handed over.
    MemberSetRole = 44, "member.set_role", Chat, Room, Write, Session;
    /// Removes a user and keeps him out.
    MemberBan = 45, "member.ban", Chat, Room, Write, Session;
    /// Ends a ban.
    MemberUnban = 46, "member.unban", Chat, Room, Write, Session;
    /// Users who are kept out.
    MemberBans = 47, "member.bans", Chat, Room, Read, Session;
    /// Makes a link by which users come in.
    InviteCreate = 48, "invite.create", Chat, Room, Write, Session;
    /// The links of a room.
    InviteList = 49, "invite.list", Chat, Room, Read, Session;
    /// Ends a link.
    InviteRevoke = 50, "invite.revoke", Chat, Room, Write, Session;
    /// What a link leads to.
    InviteLook = 51, "invite.look", Chat, Room, Read, Session;
    /// Comes in by a link.
    InviteAccept = 52, "invite.accept", Chat, Room, Write, Session;
    /// How the caller keeps a room: archived, muted, pinned.
    RoomPreferences = 53, "room.preferences", Chat, Room, Write, Session;
    /// Replaces the text of an own message.
    MessageEdit = 54, "message.edit", Chat, Room, Write, Session;
    /// Takes a message away, for all or for the caller.
    MessageDelete = 55, "message.delete", Chat, Room, Write, Session;
    /// Adds a reaction to a message, or takes it away.
    MessageReact = 56, "message.react", Chat, Room, Write, Session;
    /// Pins a message in its room, or unpins it.
    MessagePin = 57, "message.pin", Chat, Room, Write, Session;
    /// The messages of a thread.
    MessageThread = 58, "message.thread", Chat, Room, Read, Session;
    /// Messages of a room that hold some words.
    MessageSearch = 59, "message.search", Chat, Room, Read, Session;
    /// Says how far the caller's device has received.
    ReceiptDelivered = 60, "receipt.delivered", Chat, Room, Write, Session;
    /// How far the members have received and read.
    ReceiptList = 61, "receipt.list", Chat, Room, Read, Session;
    /// The pinned messages of a room.
    MessagePins = 62, "message.pins", Chat, Room, Read, Session;
    /// What a message said before it was edited.
    MessageEdits = 63, "message.edits", Chat, Room, Read, Session;

    /// Opens the session of a connection.
    SessionOpen = 64, "session.open", Auth, Edge, Write, Session;
    /// Renews the token of an open session.
    SessionRefresh = 65, "session.refresh", Auth, Edge, Write, Session;
    /// Names the large rooms whose events this connection wants one by one.
    SessionLook = 66, "session.look", Auth, Edge, Write, Session;

    /// Who reacted to a message.
    MessageReactions = 96, "message.reactions", Chat, Room, Read, Session;
    /// Ends a room for everybody.
    RoomDelete = 97, "room.delete", Chat, Room, Write, Session;
    /// Attaches a session to a large room.
    RoomAttach = 98, "room.attach", Chat, Room, Write, Internal;

    /// The large rooms of a user.
    RoomLarge = 112, "room.large", User, User, Read, Internal;
    /// Has pushes sent to a device (Web Push).
    PushSubscribe = 115, "push.subscribe", User, User, Write, Session;
    /// Ends the pushes to a device.
    PushUnsubscribe = 116, "push.unsubscribe", User, User, Write, Session;
    /// The devices that get pushes.
    PushList = 117, "push.list", User, User, Read, Session;
}

impl Method {
    /// The code in envelopes.
    #[expect(clippy::as_conversions, reason = "the discriminant of a repr(u16) enum")]
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// True if only `POST /v1/rpc` may carry it.
    pub const fn is_http_only(self) -> bool {
        matches!(self.access(), Access::Public | Access::Http)
    }

    /// True if the caller must have shown a token.
    pub const fn needs_token(self) -> bool {
        !matches!(self.access(), Access::Public)
    }

    /// True if a body of it is sealed on the backbone: it carries secrets.
    pub const fn is_sealed(self) -> bool {
        matches!(self.service(), Service::Auth) && !matches!(self.route(), Route::Edge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_find_their_method() {
        for &method in Method::ALL {
            let is_internal = method.access() == Access::Internal;
            assert_eq!(Method::find(method.name()), (!is_internal).then_some(method));
            assert_eq!(Method::from_code(method.code()), Some(method));
        }
        assert_eq!(Method::find("message.Send"), None);
        assert_eq!(Method::from_code(0), None);
    }

    #[test]
    fn every_chat_method_is_routed_by_its_room() {
        for &method in Method::ALL {
            assert_eq!(
                method.service() == Service::Chat,
                method.route() == Route::Room,
                "{}",
                method.name()
            );
        }
    }

    #[test]
    fn what_carries_secrets_is_sealed() {
        for &method in Method::ALL {
            let is_secret = method.name().starts_with("auth.") || method.name().starts_with("totp.");
            assert_eq!(method.is_sealed(), is_secret, "{}", method.name());
            assert!(!method.is_http_only() || is_secret, "{}", method.name());
        }
    }

    #[test]
    fn only_accounts_know_changes_without_an_order() {
        for &method in Method::ALL.iter().filter(|method| method.class() == Class::Apart) {
            assert_eq!(method.service(), Service::Auth, "{}", method.name());
        }
    }

    #[test]
    fn only_calls_without_a_token_go_anywhere() {
        for &method in Method::ALL {
            let name = method.name();
            assert_eq!(method.route() == Route::Any, !method.needs_token(), "{name}");
        }
    }
}
