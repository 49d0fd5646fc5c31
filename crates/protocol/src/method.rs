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
    /// Only reads: runs beside writes, dropped when nobody can be waiting any more.
    Read,
    /// Only passes something on: dropped when old, never stored.
    Ephemeral,
}

macro_rules! methods {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, $service:ident, $route:ident, $class:ident, $http_only:literal;)*) => {
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

            /// The method of a name on the wire.
            pub fn find(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
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

            /// True if only `POST /v1/rpc` may carry it, so that passwords and refresh tokens never cross a session.
            pub const fn is_http_only(self) -> bool {
                match self { $(Self::$variant => $http_only,)* }
            }
        }
    };
}

methods! {
    /// Makes an account and logs it in.
    AuthRegister = 1, "auth.register", Auth, Any, Write, true;
    /// Opens a login with a password.
    AuthLogin = 2, "auth.login", Auth, Any, Write, true;
    /// Renews a login by its refresh token.
    AuthRefresh = 3, "auth.refresh", Auth, Any, Write, true;
    /// Ends the calling login.
    AuthLogout = 4, "auth.logout", Auth, User, Write, false;

    /// The caller's own profile.
    UserMe = 16, "user.me", User, User, Read, false;
    /// Profiles by id.
    UserGet = 17, "user.get", User, User, Read, false;
    /// The caller's rooms.
    RoomList = 18, "room.list", User, User, Read, false;
    /// What changed in the caller's rooms since a cursor.
    Sync = 19, "sync", User, User, Read, false;

    /// Makes a room.
    RoomCreate = 32, "room.create", Chat, Room, Write, false;
    /// One room with its members.
    RoomGet = 33, "room.get", Chat, Room, Read, false;
    /// Joins a channel.
    RoomJoin = 34, "room.join", Chat, Room, Write, false;
    /// Leaves a room.
    RoomLeave = 35, "room.leave", Chat, Room, Write, false;
    /// Adds a user to a room.
    MemberAdd = 36, "member.add", Chat, Room, Write, false;
    /// Removes a user from a room.
    MemberRemove = 37, "member.remove", Chat, Room, Write, false;
    /// Stores a message.
    MessageSend = 38, "message.send", Chat, Room, Write, false;
    /// A range of a room's log.
    MessageHistory = 39, "message.history", Chat, Room, Read, false;
    /// Tells the room that the caller is typing.
    TypingSet = 40, "typing.set", Chat, Room, Ephemeral, false;
    /// Moves the caller's read mark.
    ReceiptRead = 41, "receipt.read", Chat, Room, Write, false;

    /// Opens the session of a connection.
    SessionOpen = 64, "session.open", Auth, Edge, Write, false;
    /// Renews the token of an open session.
    SessionRefresh = 65, "session.refresh", Auth, Edge, Write, false;
}

impl Method {
    /// The code in envelopes.
    #[expect(clippy::as_conversions, reason = "the discriminant of a repr(u16) enum")]
    pub const fn code(self) -> u16 {
        self as u16
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
            assert_eq!(Method::find(method.name()), Some(method));
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
        let sealed: Vec<_> = Method::ALL
            .iter()
            .filter(|m| m.is_sealed())
            .map(|m| m.name())
            .collect();
        assert_eq!(
            sealed,
            ["auth.register", "auth.login", "auth.refresh", "auth.logout"]
        );
    }
}
