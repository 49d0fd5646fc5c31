//! Which types each method and each event has. A method without a row, or an event, fails a test.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::Method;
use crate::api::event::{self, Kind};
use crate::api::{
    Empty, auth, invite, member, message, presence, push, receipt, room, session, setting, sync, user,
};

/// Writes the schema of one type, and notes the types that it names.
pub type Write = fn(&mut SchemaGenerator) -> Schema;

/// What a method takes and returns.
#[derive(Clone, Copy, Debug)]
pub struct MethodShape {
    /// The method.
    pub method: Method,
    /// Its arguments.
    pub params: Write,
    /// Its result.
    pub result: Write,
}

/// What an event carries.
#[derive(Clone, Copy, Debug)]
pub struct EventShape {
    /// Its name on the wire.
    pub name: &'static str,
    /// True if it names a room.
    pub has_room: bool,
    /// True if it has a `seq`.
    pub has_seq: bool,
    /// Its data.
    pub data: Write,
}

macro_rules! methods {
    ($($method:ident: $params:ty => $result:ty;)*) => {
        /// Every method that a client may call.
        pub const METHODS: &[MethodShape] = &[$(MethodShape {
            method: Method::$method,
            params: <$params as JsonSchema>::json_schema,
            result: <$result as JsonSchema>::json_schema,
        }),*];
    };
}

macro_rules! events {
    ($($name:expr, $has_room:literal, $has_seq:literal: $data:ty;)*) => {
        /// Every event.
        pub const EVENTS: &[EventShape] = &[$(EventShape {
            name: $name,
            has_room: $has_room,
            has_seq: $has_seq,
            data: SchemaGenerator::subschema_for::<$data>,
        }),*];
    };
}

methods! {
    AuthRegister: auth::Credentials => auth::Tokens;
    AuthLogin: auth::Credentials => auth::Tokens;
    AuthRefresh: auth::Refresh => auth::Tokens;
    AuthLogout: Empty => Empty;
    AuthLogins: Empty => auth::Logins;
    AuthRevokeLogin: auth::RevokeLogin => Empty;
    AuthChangePassword: auth::ChangePassword => Empty;
    AuthRequestReset: auth::RequestReset => auth::Challenge;
    AuthResetPassword: auth::ResetPassword => Empty;
    AuthDeleteAccount: auth::Proof => Empty;
    AuthSetEmail: auth::SetEmail => auth::Challenge;
    AuthConfirmEmail: auth::ConfirmEmail => Empty;
    TotpEnroll: auth::Enroll => auth::Enrolled;
    TotpConfirm: auth::Confirm => Empty;
    TotpDisable: auth::Proof => Empty;

    SessionOpen: session::Open => session::Opened;
    SessionRefresh: session::Open => session::Opened;
    SessionLook: session::Look => Empty;

    UserMe: Empty => user::Me;
    UserGet: user::Get => user::Users;
    RoomList: room::List => room::Rooms;
    Sync: sync::Sync => sync::Synced;
    UserSearch: user::Search => user::Found;
    UserUpdate: user::Update => user::Updated;
    ContactList: user::ListUsers => user::Contacts;
    ContactSet: user::SetContact => user::Done;
    ContactRemove: user::Relate => user::Done;
    BlockList: user::ListUsers => user::Blocked;
    BlockAdd: user::Relate => user::Done;
    BlockRemove: user::Relate => user::Done;
    PresenceWatch: presence::Watch => presence::Watched;
    PresenceSet: presence::Set => Empty;
    PushSubscribe: push::Subscribe => push::Subscribed;
    PushUnsubscribe: push::Unsubscribe => user::Done;
    PushList: Empty => push::Subscriptions;

    RoomCreate: room::Create => room::Created;
    RoomGet: Empty => room::Got;
    RoomJoin: room::JoinLeave => room::Created;
    RoomLeave: room::JoinLeave => room::Changed;
    RoomUpdate: room::Update => room::Created;
    RoomDelete: room::Delete => room::Changed;
    RoomPreferences: setting::Prefer => setting::Preferred;
    MemberAdd: room::Add => room::Changed;
    MemberRemove: room::Remove => room::Changed;
    MemberList: member::ListMembers => member::Members;
    MemberSetRole: member::SetRole => room::Changed;
    MemberBan: member::Ban => room::Changed;
    MemberUnban: member::Ban => room::Changed;
    MemberBans: member::ListBans => member::Bans;
    InviteCreate: invite::CreateInvite => invite::InviteCreated;
    InviteList: Empty => invite::Invites;
    InviteRevoke: invite::RevokeInvite => room::Changed;
    InviteLook: invite::LookInvite => invite::Looked;
    InviteAccept: invite::AcceptInvite => room::Changed;

    MessageSend: message::Send => message::Sent;
    MessageHistory: message::History => message::Range;
    MessageEdit: message::Edit => room::Changed;
    MessageDelete: message::Delete => room::Changed;
    MessageReact: message::React => room::Changed;
    MessagePin: message::Pin => room::Changed;
    MessageThread: message::Thread => message::Messages;
    MessageSearch: message::SearchRoom => message::Messages;
    MessagePins: Empty => message::Pins;
    MessageEdits: message::OfMessage => message::Versions;
    MessageReactions: message::OfMessage => message::Reactions;
    Search: message::Search => message::Messages;
    TypingSet: message::Typing => Empty;
    ReceiptRead: message::Read => message::ReadMark;
    ReceiptDelivered: receipt::Delivered => message::ReadMark;
    ReceiptList: receipt::List => receipt::Listed;
}

events! {
    Kind::RoomCreated.name(), true, true: event::CreatedData;
    Kind::MessageCreated.name(), true, true: event::MessageData;
    Kind::MemberAdded.name(), true, true: event::MemberData;
    Kind::MemberRemoved.name(), true, true: event::MemberData;
    Kind::MemberUpdated.name(), true, true: event::MemberData;
    Kind::RoomUpdated.name(), true, true: event::UpdatedData;
    Kind::RoomDeleted.name(), true, true: event::RoomDeletedData;
    Kind::MessageEdited.name(), true, true: event::EditedData;
    Kind::MessageDeleted.name(), true, true: event::DeletedData;
    Kind::MessageReacted.name(), true, true: event::ReactedData;
    Kind::MessagePinned.name(), true, true: event::PinnedData;
    event::TYPING, true, false: event::TypingData;
    event::RECEIPTS, true, false: event::ReceiptsData;
    event::UNREAD, true, false: event::UnreadData;
    event::HIDDEN, true, false: event::HiddenData;
    event::PREFERENCES, true, false: setting::Preferences;
    event::BUMP, true, true: Empty;
    event::PRESENCE, false, false: presence::PresenceData;
    event::USER_UPDATED, false, false: event::UserData;
    event::SYNC, false, false: event::SyncData;
    event::MIGRATE, false, false: event::MigrateData;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Access;

    #[test]
    fn every_method_of_clients_and_every_event_has_its_shape() {
        for &method in Method::ALL {
            let count = METHODS.iter().filter(|shape| shape.method == method).count();
            let wanted = usize::from(method.access() != Access::Internal);
            assert_eq!(count, wanted, "{}", method.name());
        }
        for kind in Kind::ALL {
            let is_it = |shape: &&EventShape| shape.name == kind.name() && shape.has_seq && shape.has_room;
            assert_eq!(EVENTS.iter().filter(is_it).count(), 1, "{}", kind.name());
        }
    }
}
