// Generated from crates/protocol by `cargo run -p hub-protocol --bin hub-schema`. Do not edit.
// Times are microseconds since the Unix epoch; ids are UUIDs in text form.

/** What a client says of itself. */
export type Activity = "active" | "away";

/** A durable event. */
export type AnyEvent = RoomCreatedEvent | MessageCreatedEvent | MemberAddedEvent | MemberRemovedEvent | MemberUpdatedEvent | RoomUpdatedEvent | RoomDeletedEvent | MessageEditedEvent | MessageDeletedEvent | MessageReactedEvent | MessagePinnedEvent;

/** Arguments of `auth.change_password`. */
export interface AuthChangePasswordParams {
  /** 8 to 256 bytes. */
  new_password: string;
  /** The one so far. */
  password: string;
}

/** Result of `auth.change_password`. */
export type AuthChangePasswordResult = Record<string, never>;

/** Arguments of `auth.confirm_email`. */
export interface AuthConfirmEmailParams {
  /** From `auth.set_email`. */
  challenge: string;
  /** The digits that were sent. */
  code: string;
}

/** Result of `auth.confirm_email`. */
export type AuthConfirmEmailResult = Record<string, never>;

/** Arguments of `auth.delete_account`. */
export interface AuthDeleteAccountParams {
  /** A code of the second factor or a recovery code, if one is in force. */
  code?: string | null;
  /** The password again. */
  password: string;
}

/** Result of `auth.delete_account`. */
export type AuthDeleteAccountResult = Record<string, never>;

/** Arguments of `auth.login`. */
export interface AuthLoginParams {
  /** `auth.login` only: six digits of the second factor, or a recovery code. */
  code?: string | null;
  /** What the user calls this device in his list of logins, at most 64 bytes. */
  device?: string | null;
  /** What an earlier login on this device returned: a known device has tries of its own. */
  device_token?: string | null;
  /** 8 to 256 bytes. */
  password: string;
  /** Lower-case name, 3 to 32 bytes of `a-z 0-9 _ . -`. */
  username: string;
}

/** Result of `auth.login`. */
export interface AuthLoginResult {
  /** Opens a session. */
  access_token: string;
  /** Makes this device a known one; kept over logouts. Not in the result of `auth.refresh`. */
  device_token?: string | null;
  /** Life of the access token, seconds. */
  expires_in: number;
  /** Renews the login, once. */
  refresh_token: string;
  /** Who logged in. */
  user: User;
}

/** Arguments of `auth.logins`. */
export type AuthLoginsParams = Record<string, never>;

/** Result of `auth.logins`. */
export interface AuthLoginsResult {
  /** Where one-time codes go, once it is confirmed. */
  email?: string | null;
  /** At most 200, the one that was used last first. */
  logins: Login[];
  /** Recovery codes that are not used yet. */
  recovery_codes_left: number;
  /** True while a second factor is in force. */
  totp: boolean;
}

/** Arguments of `auth.logout`. */
export type AuthLogoutParams = Record<string, never>;

/** Result of `auth.logout`. */
export type AuthLogoutResult = Record<string, never>;

/** Arguments of `auth.refresh`. */
export interface AuthRefreshParams {
  /** The latest refresh token of the login. */
  refresh_token: string;
}

/** Result of `auth.refresh`. */
export interface AuthRefreshResult {
  /** Opens a session. */
  access_token: string;
  /** Makes this device a known one; kept over logouts. Not in the result of `auth.refresh`. */
  device_token?: string | null;
  /** Life of the access token, seconds. */
  expires_in: number;
  /** Renews the login, once. */
  refresh_token: string;
  /** Who logged in. */
  user: User;
}

/** Arguments of `auth.register`. */
export interface AuthRegisterParams {
  /** `auth.login` only: six digits of the second factor, or a recovery code. */
  code?: string | null;
  /** What the user calls this device in his list of logins, at most 64 bytes. */
  device?: string | null;
  /** What an earlier login on this device returned: a known device has tries of its own. */
  device_token?: string | null;
  /** 8 to 256 bytes. */
  password: string;
  /** Lower-case name, 3 to 32 bytes of `a-z 0-9 _ . -`. */
  username: string;
}

/** Result of `auth.register`. */
export interface AuthRegisterResult {
  /** Opens a session. */
  access_token: string;
  /** Makes this device a known one; kept over logouts. Not in the result of `auth.refresh`. */
  device_token?: string | null;
  /** Life of the access token, seconds. */
  expires_in: number;
  /** Renews the login, once. */
  refresh_token: string;
  /** Who logged in. */
  user: User;
}

/** Arguments of `auth.request_reset`. */
export interface AuthRequestResetParams {
  /** See `Credentials::device_token`. */
  device_token?: string | null;
  /** Whose password was forgotten. */
  username: string;
}

/** Result of `auth.request_reset`. */
export interface AuthRequestResetResult {
  /** What the code belongs to: without it the code is worth nothing. */
  challenge: string;
  /** Life of the code, seconds. */
  expires_in: number;
}

/** Arguments of `auth.reset_password`. */
export interface AuthResetPasswordParams {
  /** From `auth.request_reset`. */
  challenge: string;
  /** The digits that were sent. */
  code: string;
  /** 8 to 256 bytes. */
  password: string;
}

/** Result of `auth.reset_password`. */
export type AuthResetPasswordResult = Record<string, never>;

/** Arguments of `auth.revoke_login`. */
export interface AuthRevokeLoginParams {
  /** A login of the caller. */
  login: LoginId;
}

/** Result of `auth.revoke_login`. */
export type AuthRevokeLoginResult = Record<string, never>;

/** Arguments of `auth.set_email`. */
export interface AuthSetEmailParams {
  /** Where one-time codes shall go, at most 254 bytes; null takes the address away. */
  email?: string | null;
  /** The password again. */
  password: string;
}

/** Result of `auth.set_email`. */
export interface AuthSetEmailResult {
  /** What the code belongs to: without it the code is worth nothing. */
  challenge: string;
  /** Life of the code, seconds. */
  expires_in: number;
}

/** One user who is kept out of a room. */
export interface Banned {
  /** By whom. */
  by: UserId;
  /** Since when, µs since the Unix epoch. */
  created_at: number;
  /** Who. */
  user: UserId;
}

/** Arguments of `block.add`. */
export interface BlockAddParams {
  /** Names the change. */
  op: Op;
  /** Who. */
  user: UserId;
}

/** Result of `block.add`. */
export interface BlockAddResult {
  /** True if this op was applied before. */
  duplicate: boolean;
}

/** Arguments of `block.list`. */
export interface BlockListParams {
  /** Users after this one. */
  after?: UserId | null;
  /** Users at most (up to `crate::limits::USER_LIST_MAX`, which is also what holds when absent). */
  limit?: number | null;
}

/** Result of `block.list`. */
export interface BlockListResult {
  /** True if there are more after the last one. */
  more: boolean;
  /** The users whom the caller has blocked. */
  users: Profile[];
}

/** Arguments of `block.remove`. */
export interface BlockRemoveParams {
  /** Names the change. */
  op: Op;
  /** Who. */
  user: UserId;
}

/** Result of `block.remove`. */
export interface BlockRemoveResult {
  /** True if this op was applied before. */
  duplicate: boolean;
}

/** One contact. */
export interface Contact {
  /** The caller's own name for him; empty: the display name. */
  alias: string;
  /** Who. */
  user: Profile;
}

/** Arguments of `contact.list`. */
export interface ContactListParams {
  /** Users after this one. */
  after?: UserId | null;
  /** Users at most (up to `crate::limits::USER_LIST_MAX`, which is also what holds when absent). */
  limit?: number | null;
}

/** Result of `contact.list`. */
export interface ContactListResult {
  /** The contacts. */
  contacts: Contact[];
  /** True if there are more after the last one. */
  more: boolean;
}

/** Arguments of `contact.remove`. */
export interface ContactRemoveParams {
  /** Names the change. */
  op: Op;
  /** Who. */
  user: UserId;
}

/** Result of `contact.remove`. */
export interface ContactRemoveResult {
  /** True if this op was applied before. */
  duplicate: boolean;
}

/** Arguments of `contact.set`. */
export interface ContactSetParams {
  /** The caller's own name for him, up to `crate::limits::DISPLAY_NAME_BYTES_MAX` bytes. */
  alias?: string;
  /** Names the change. */
  op: Op;
  /** Who. */
  user: UserId;
}

/** Result of `contact.set`. */
export interface ContactSetResult {
  /** True if this op was applied before. */
  duplicate: boolean;
}

/** Data of `room.created`. */
export interface CreatedData {
  /** Its first members, by user id. */
  members: Member[];
  /** The op that made it. */
  op: Op;
  /** The room. */
  room: Room;
}

/** For whom a message is taken away. */
export type DeleteFor = "all" | "me";

/** Data of `message.deleted`. */
export interface DeletedData {
  /** Who did it. */
  by: UserId;
  /** When, µs since the Unix epoch. */
  deleted_at: number;
  /** The op of the change. */
  op: Op;
  /** The message. */
  seq: number;
}

/** Data of `message.edited`. */
export interface EditedData {
  /** Who did it. */
  by: UserId;
  /** When, µs since the Unix epoch. */
  edited_at: number;
  /** Its entities since then. */
  entities?: Entity[];
  /** The op of the change. */
  op: Op;
  /** The message. */
  seq: number;
  /** What it says since then; empty once it was taken away. */
  text: string;
}

/** Arguments of a method that takes none, and the result of one that returns none. */
export type Empty = Record<string, never>;

/** A part of a text. */
export interface Entity {
  /** How long it is, UTF-16 code units, at least 1. */
  length: number;
  /** Where it begins, UTF-16 code units from the start of the text. */
  offset: number;
  /** What it is. */
  type: EntityType;
  /** Of a link, and of nothing else: `http`, `https` or `mailto`, up to `crate::limits::URL_BYTES_MAX` bytes. */
  url?: string | null;
  /** Of a mention, and of nothing else. */
  user?: UserId | null;
}

/** What a part of a text is. */
export type EntityType = "bold" | "italic" | "underline" | "strike" | "spoiler" | "code" | "pre" | "quote" | "link" | "mention" | "room";

/** The `error` member of a response. */
export interface ErrorBody {
  /** What kind of refusal. */
  code: ErrorCode;
  /** One sentence for a developer; never holds secrets or internals. */
  message: string;
  /** Which case of its code it is, where a program must tell them apart: `totp_required`. */
  reason?: string | null;
  /** When to try again, in milliseconds. */
  retry_after_ms?: number | null;
  /** Whether the same request may succeed later. */
  retryable: boolean;
}

/** The `code` of an error. Final codes mean: not stored, and will not be. Retryable ones mean: not stored yet. */
export type ErrorCode = "bad_request" | "unauthenticated" | "forbidden" | "not_found" | "conflict" | "too_large" | "rate_limited" | "busy" | "unavailable" | "internal";

/** Data of `message.hidden`. */
export interface HiddenData {
  /** The message. */
  seq: number;
}

/** A link, without its code: that is shown once, to whoever made it. */
export interface Invite {
  /** When, µs since the Unix epoch. */
  created_at: number;
  /** Who made it. */
  created_by: UserId;
  /** Until when, µs since the Unix epoch; absent: it does not expire. */
  expires_at?: number | null;
  /** Names it in `invite.revoke`; of no use to come in. */
  id: string;
  /** As what users come in. */
  role: Role;
  /** How many did. */
  uses: number;
  /** How many may come in by it; absent: any number. */
  uses_max?: number | null;
}

/** Arguments of `invite.accept`. */
export interface InviteAcceptParams {
  /** The link's code. */
  code: string;
  /** Name of this change. */
  op: Op;
}

/** Result of `invite.accept`. */
export interface InviteAcceptResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The event's place in the room; 0 if the change is no event. */
  seq: number;
}

/** Arguments of `invite.create`. */
export interface InviteCreateParams {
  /** It is good for this long, seconds. */
  expires_in_s?: number | null;
  /** Name of this change. */
  op: Op;
  /** As `member` or `reader`; if absent as `member`, in channels as `reader`. */
  role?: Role | null;
  /** It lets so many in. */
  uses_max?: number | null;
}

/** Result of `invite.create`. */
export interface InviteCreateResult {
  /** Its secret: 22 characters of `A-Z a-z 0-9 - _`. */
  code: string;
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The link. */
  invite: Invite;
}

/** Arguments of `invite.list`. */
export type InviteListParams = Record<string, never>;

/** Result of `invite.list`. */
export interface InviteListResult {
  /** Newest first. */
  invites: Invite[];
}

/** Arguments of `invite.look`. */
export interface InviteLookParams {
  /** The link's code. */
  code: string;
}

/** Result of `invite.look`. */
export interface InviteLookResult {
  /** The attachment that shows it. */
  avatar?: string | null;
  /** True if the caller is a member already. */
  joined: boolean;
  /** Its kind. */
  kind: RoomKind;
  /** How many belong to it. */
  members: number;
  /** Its name. */
  name: string;
  /** As what the caller would come in. */
  role: Role;
  /** The room. */
  room: RoomId;
  /** What it is about; absent if empty. */
  topic?: string;
}

/** Arguments of `invite.revoke`. */
export interface InviteRevokeParams {
  /** The link's id. */
  invite: string;
  /** Name of this change. */
  op: Op;
}

/** Result of `invite.revoke`. */
export interface InviteRevokeResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The event's place in the room; 0 if the change is no event. */
  seq: number;
}

/** A room that the caller left. */
export interface Left {
  /** The room. */
  room: RoomId;
  /** The event of his removal, the last that he may see. */
  seq: number;
}

/** Bounds that a client should keep by itself. */
export interface Limits {
  /** One message on the wire, bytes. */
  message_bytes: number;
  /** How many may come at once. */
  messages_burst: number;
  /** Sustained messages per second; 0 means unlimited. */
  messages_per_second: number;
}

/** One device on which a user is logged in. */
export interface Login {
  /** When the user logged in there. */
  created_at: number;
  /** True for the login that asks. */
  current: boolean;
  /** What the user calls the device; may be empty. */
  device: string;
  /** When it ends, unless it is renewed. */
  expires_at: number;
  /** Its name for `auth.revoke_login`. */
  id: LoginId;
  /** When the device renewed its login for the last time. */
  last_used_at: number;
}

/** One refresh-token family: a device on which the user logged in. */
export type LoginId = string;

/** How far one member is. */
export interface Mark {
  /** Some device of his has received up to here: at least `read_seq`. */
  delivered_seq: number;
  /** He has read up to here. */
  read_seq: number;
  /** The member. */
  user: UserId;
}

/** One member of a room. */
export interface Member {
  /** What he may do. */
  role: Role;
  /** The user. */
  user: UserId;
}

/** Arguments of `member.add`. */
export interface MemberAddParams {
  /** Name of this change. */
  op: Op;
  /** As what; `member` if absent (`reader` in channels). */
  role?: Role | null;
  /** Whom to add. */
  user: UserId;
}

/** Result of `member.add`. */
export interface MemberAddResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The event's place in the room; 0 if the change is no event. */
  seq: number;
}

/** The event `member.added`. */
export interface MemberAddedEvent {
  data: MemberData;
  event: "member.added";
  room: RoomId;
  /** Its place in the room. */
  seq: number;
}

/** Arguments of `member.ban`. */
export interface MemberBanParams {
  /** Name of this change. */
  op: Op;
  /** Whom to keep out, or not any more. */
  user: UserId;
}

/** Result of `member.ban`. */
export interface MemberBanResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The event's place in the room; 0 if the change is no event. */
  seq: number;
}

/** Arguments of `member.bans`. */
export interface MemberBansParams {
  /** Only users after this id. */
  after?: UserId | null;
  /** At most this many, and at most `crate::limits::MEMBERS_PAGE_MAX`. */
  limit?: number | null;
}

/** Result of `member.bans`. */
export interface MemberBansResult {
  /** By user id. */
  bans: Banned[];
  /** True if another page follows. */
  more: boolean;
}

/** Data of `member.added`, `member.removed` and `member.updated`. */
export interface MemberData {
  /** In `member.removed`: he is kept out. */
  banned?: boolean;
  /** Who did it. */
  by: UserId;
  /** When, µs since the Unix epoch. */
  created_at: number;
  /** In `member.removed`: who owns the room now that its owner left. */
  heir?: UserId | null;
  /** The op of the change. */
  op: Op;
  /** His role; absent when removed. `owner` in `member.updated`: the room was handed over, and `by` is `admin` now. */
  role?: Role | null;
  /** Whom it concerns. */
  user: UserId;
}

/** Arguments of `member.list`. */
export interface MemberListParams {
  /** Only users after this id. */
  after?: UserId | null;
  /** At most this many, and at most `crate::limits::MEMBERS_PAGE_MAX`. */
  limit?: number | null;
  /** Only members of this role. */
  role?: Role | null;
}

/** Result of `member.list`. */
export interface MemberListResult {
  /** By user id. */
  members: Member[];
  /** True if another page follows. */
  more: boolean;
}

/** Arguments of `member.remove`. */
export interface MemberRemoveParams {
  /** Name of this change. */
  op: Op;
  /** Whom to remove. */
  user: UserId;
}

/** Result of `member.remove`. */
export interface MemberRemoveResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The event's place in the room; 0 if the change is no event. */
  seq: number;
}

/** The event `member.removed`. */
export interface MemberRemovedEvent {
  data: MemberData;
  event: "member.removed";
  room: RoomId;
  /** Its place in the room. */
  seq: number;
}

/** Arguments of `member.set_role`. */
export interface MemberSetRoleParams {
  /** Name of this change. */
  op: Op;
  /** What it becomes; `owner` hands the room over, and the caller is `admin` from then on. */
  role: Role;
  /** Whose role. */
  user: UserId;
}

/** Result of `member.set_role`. */
export interface MemberSetRoleResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The event's place in the room; 0 if the change is no event. */
  seq: number;
}

/** Arguments of `member.unban`. */
export interface MemberUnbanParams {
  /** Name of this change. */
  op: Op;
  /** Whom to keep out, or not any more. */
  user: UserId;
}

/** Result of `member.unban`. */
export interface MemberUnbanResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The event's place in the room; 0 if the change is no event. */
  seq: number;
}

/** The event `member.updated`. */
export interface MemberUpdatedEvent {
  data: MemberData;
  event: "member.updated";
  room: RoomId;
  /** Its place in the room. */
  seq: number;
}

/** A stored message, as it is now. */
export interface Message {
  /** The op it was sent with: replaces the sender's optimistic entry. */
  client_message_id: Op;
  /** When it was stored, µs since the Unix epoch; grows with `seq`. */
  created_at: number;
  /** True if it was taken away for all: the text is empty then. */
  deleted?: boolean;
  /** When its text was replaced last, µs since the Unix epoch. */
  edited_at?: number | null;
  /** How parts of its text are to be shown. */
  entities?: Entity[];
  /** Where its text comes from, if it was forwarded. */
  forward?: Origin | null;
  /** Its place among the room's messages. */
  n: number;
  /** Reactions, in the order of their first use. Only in answers, not in the event of a new message. */
  reactions?: Reaction[];
  /** The thread that begins here. Only in answers. */
  replies?: Replies | null;
  /** The message that it answers. */
  reply_to?: number | null;
  /** Where it stands. */
  room: RoomId;
  /** Who wrote it. */
  sender: UserId;
  /** Its place among the room's events. */
  seq: number;
  /** What it says. */
  text: string;
  /** The first message of the thread that it belongs to. */
  thread?: number | null;
}

/** The event `message.created`. */
export interface MessageCreatedEvent {
  data: Message;
  event: "message.created";
  room: RoomId;
  /** Its place in the room. */
  seq: number;
}

/** Arguments of `message.delete`. */
export interface MessageDeleteParams {
  /** For whom. */
  for: DeleteFor;
  /** Name of this change. */
  op: Op;
  /** The message. */
  seq: number;
}

/** Result of `message.delete`. */
export interface MessageDeleteResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The event's place in the room; 0 if the change is no event. */
  seq: number;
}

/** The event `message.deleted`. */
export interface MessageDeletedEvent {
  data: DeletedData;
  event: "message.deleted";
  room: RoomId;
  /** Its place in the room. */
  seq: number;
}

/** Arguments of `message.edit`. */
export interface MessageEditParams {
  /** The new entities. */
  entities?: Entity[];
  /** Name of this change. */
  op: Op;
  /** The message. */
  seq: number;
  /** Its new text, with the limits of `Send::text`. */
  text: string;
}

/** Result of `message.edit`. */
export interface MessageEditResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The event's place in the room; 0 if the change is no event. */
  seq: number;
}

/** The event `message.edited`. */
export interface MessageEditedEvent {
  data: EditedData;
  event: "message.edited";
  room: RoomId;
  /** Its place in the room. */
  seq: number;
}

/** Arguments of `message.edits`. */
export interface MessageEditsParams {
  /** Continues a list: `next` of the page before. */
  after?: number | null;
  /** The message. */
  seq: number;
}

/** Result of `message.edits`. */
export interface MessageEditsResult {
  /** Oldest first. */
  edits: Version[];
  /** Ask again with `after` set to this: there is more. */
  next?: number | null;
}

/** The event `message.hidden`. */
export interface MessageHiddenEvent {
  data: HiddenData;
  event: "message.hidden";
  room: RoomId;
}

/** Arguments of `message.history`. */
export interface MessageHistoryParams {
  /** Events with a greater `seq`, oldest first. */
  after?: number | null;
  /** Events on both sides of this `seq` and the one itself, half of `limit` before it. */
  around?: number | null;
  /** Events with a smaller `seq`, the newest of them. */
  before?: number | null;
  /** At most this many, and at most `crate::limits::HISTORY_EVENTS_MAX`. */
  limit?: number | null;
}

/** Result of `message.history`. */
export interface MessageHistoryResult {
  /** Events in ascending order, in the shape in which they are delivered. */
  events: AnyEvent[];
  /** Inclusive ranges of `seq` that exist but are not for the caller; they count as seen. */
  hidden: [number, number][];
  /** True if the range goes on in the direction that was asked; with `around`, after its end. */
  more: boolean;
  /** With `around`: true if the range goes on before its start. */
  more_before?: boolean | null;
}

/** Arguments of `message.pin`. */
export interface MessagePinParams {
  /** Name of this change. */
  op: Op;
  /** Whether it is to be pinned. */
  pinned: boolean;
  /** The message. */
  seq: number;
}

/** Result of `message.pin`. */
export interface MessagePinResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The event's place in the room; 0 if the change is no event. */
  seq: number;
}

/** The event `message.pinned`. */
export interface MessagePinnedEvent {
  data: PinnedData;
  event: "message.pinned";
  room: RoomId;
  /** Its place in the room. */
  seq: number;
}

/** Arguments of `message.pins`. */
export type MessagePinsParams = Record<string, never>;

/** Result of `message.pins`. */
export interface MessagePinsResult {
  /** True if the list was cut below the bound of a result. */
  more: boolean;
  /** The one pinned last comes first. */
  pins: Pinned[];
}

/** Arguments of `message.react`. */
export interface MessageReactParams {
  /** 1 to `crate::limits::EMOJI_BYTES_MAX` bytes without spaces and control characters. */
  emoji: string;
  /** Name of this change. */
  op: Op;
  /** True to take the own reaction away. */
  remove?: boolean;
  /** The message. */
  seq: number;
}

/** Result of `message.react`. */
export interface MessageReactResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The event's place in the room; 0 if the change is no event. */
  seq: number;
}

/** The event `message.reacted`. */
export interface MessageReactedEvent {
  data: ReactedData;
  event: "message.reacted";
  room: RoomId;
  /** Its place in the room. */
  seq: number;
}

/** Arguments of `message.reactions`. */
export interface MessageReactionsParams {
  /** Continues a list: `next` of the page before. */
  after?: number | null;
  /** The message. */
  seq: number;
}

/** Result of `message.reactions`. */
export interface MessageReactionsResult {
  /** Ask again with `after` set to this: there is more. */
  next?: number | null;
  /** In the order in which they came. */
  reactions: Reacted[];
}

/** Arguments of `message.search`. */
export interface MessageSearchParams {
  /** Messages with a smaller `seq`. */
  before?: number | null;
  /** At most this many, and at most `crate::limits::SEARCH_MAX`. */
  limit?: number | null;
  /** Words that must all occur; `"a phrase"`, `-without`, `one or other`. */
  query: string;
}

/** Result of `message.search`. */
export interface MessageSearchResult {
  /** Threads: ascending. Searches: the newest first. */
  messages: Message[];
  /** True if there is more in the direction that was asked. */
  more: boolean;
  /** Of `search`: ask again with `page` set to this. */
  next?: string | null;
}

/** Arguments of `message.send`. */
export interface MessageSendParams {
  /** Name of this change, made once and kept over retries. */
  client_message_id: Op;
  /** How parts of the text are to be shown, and who is mentioned; see `Entity`. */
  entities?: Entity[];
  /** A message that the caller sees: the server copies its text. */
  forward?: Source | null;
  /** A message of this room that this one answers. */
  reply_to?: number | null;
  /** 1 to `crate::limits::TEXT_BYTES_MAX` bytes, no NUL; absent with `forward`. */
  text?: string;
  /** The first message of the thread that it belongs to, in this room. */
  thread?: number | null;
}

/** Result of `message.send`. */
export interface MessageSendResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The message as stored. */
  message: Message;
  /** The same `n`. */
  n: number;
  /** The same `seq`. */
  seq: number;
}

/** Arguments of `message.thread`. */
export interface MessageThreadParams {
  /** Messages with a greater `seq`, oldest first. */
  after?: number | null;
  /** Messages with a smaller `seq`, the newest of them. */
  before?: number | null;
  /** At most this many, and at most `crate::limits::HISTORY_EVENTS_MAX`. */
  limit?: number | null;
  /** The first message of the thread. */
  root: number;
}

/** Result of `message.thread`. */
export interface MessageThreadResult {
  /** Threads: ascending. Searches: the newest first. */
  messages: Message[];
  /** True if there is more in the direction that was asked. */
  more: boolean;
  /** Of `search`: ask again with `page` set to this. */
  next?: string | null;
}

/** Data of `system.migrate`. */
export interface MigrateData {
  /** Open another connection within this time. */
  within_ms: number;
}

/** The client's name for one change, kept over retries (`UUIDv7`, RFC 9562 §5.7). For `message.send` it travels as `client_message_id`. */
export type Op = string;

/** Where a forwarded text was written first. */
export interface Origin {
  /** When, µs since the Unix epoch. */
  created_at: number;
  /** The room. */
  room: RoomId;
  /** Who wrote it. */
  sender: UserId;
  /** Its place there. */
  seq: number;
}

/** A message that is pinned. */
export interface Pinned {
  /** Who pinned it. */
  by: UserId;
  /** The message. */
  message: Message;
  /** When, µs since the Unix epoch. */
  pinned_at: number;
}

/** Data of `message.pinned`. */
export interface PinnedData {
  /** Who did it. */
  by: UserId;
  /** When, µs since the Unix epoch. */
  created_at: number;
  /** The op of the change. */
  op: Op;
  /** Whether it is pinned now. */
  pinned: boolean;
  /** The message. */
  seq: number;
}

/** How one user keeps a room. */
export interface Preferences {
  /** Out of the way, until something is written. */
  archived: boolean;
  /** No notices until then, µs since the Unix epoch; 0: not muted. */
  muted_until: number;
  /** Since when it stands on top of the list, µs since the Unix epoch; 0: it does not. */
  pinned_at: number;
}

/** One user, as one other may see him. */
export interface Presence {
  /** When his last connection ended, µs since the Unix epoch; only when offline, and if he lets it be known. */
  last_seen?: number | null;
  /** How. */
  state: State;
  /** Who. */
  user: UserId;
}

/** Data of the event `presence`. */
export interface PresenceData {
  /** Those that changed. */
  users: Presence[];
}

/** The event `presence`. */
export interface PresenceEvent {
  data: PresenceData;
  event: "presence";
}

/** Arguments of `presence.set`. */
export interface PresenceSetParams {
  /** How this connection is from now on. Holds no push back for longer than a minute, unless said again. */
  state: Activity;
}

/** Result of `presence.set`. */
export type PresenceSetResult = Record<string, never>;

/** Arguments of `presence.watch`. */
export interface PresenceWatchParams {
  /** The members of this room, if there are no more than `crate::limits::PRESENCE_ROOM_MAX`; of a larger one only their number, and what was looked at before stays. */
  room?: RoomId | null;
  /** Whom this connection looks at from now on, at most `crate::limits::PRESENCE_WATCH_MAX`; replaces what it looked at before. Empty: nobody. */
  users?: UserId[] | null;
}

/** Result of `presence.watch`. */
export interface PresenceWatchResult {
  /** Say it again after this, or changes are told no more, milliseconds. */
  renew_ms: number;
  /** How many members of the room are there; absent without a room. */
  room?: RoomPresence | null;
  /** How they are now, those that exist. */
  users: Presence[];
}

/** What others see of an account, in full. */
export interface Profile {
  /** What the user says about himself; absent when empty. */
  about?: string;
  /** The attachment that shows him. */
  avatar?: string | null;
  /** When it was made, µs since the Unix epoch. */
  created_at: number;
  /** True if the account has ended: its messages stay, nothing else can be done with it. */
  deleted?: boolean;
  /** The name to show. */
  display_name: string;
  /** Its id. */
  id: UserId;
  /** Unique lower-case name. */
  username: string;
}

/** Arguments of `push.list`. */
export type PushListParams = Record<string, never>;

/** Result of `push.list`. */
export interface PushListResult {
  /** `applicationServerKey` for `PushManager.subscribe`: base64url without padding. */
  application_server_key: string;
  /** All subscriptions of the caller, at most `crate::limits::PUSH_SUBSCRIPTIONS_MAX`. */
  subscriptions: Subscription[];
}

/** Arguments of `push.subscribe`. */
export interface PushSubscribeParams {
  /** The device's secret, 16 bytes in base64url without padding. */
  auth: string;
  /** Where pushes are posted to; https, up to `crate::limits::PUSH_ENDPOINT_BYTES_MAX` bytes. */
  endpoint: string;
  /** Names the change. */
  op: Op;
  /** The device's public key, 65 bytes in base64url without padding. */
  p256dh: string;
}

/** Result of `push.subscribe`. */
export interface PushSubscribeResult {
  /** True if this op was applied before. */
  duplicate: boolean;
  /** The subscription. */
  id: string;
}

/** Arguments of `push.unsubscribe`. */
export interface PushUnsubscribeParams {
  /** The subscription. */
  id: string;
  /** Names the change. */
  op: Op;
}

/** Result of `push.unsubscribe`. */
export interface PushUnsubscribeResult {
  /** True if this op was applied before. */
  duplicate: boolean;
}

/** One user's reaction. */
export interface Reacted {
  /** With what. */
  emoji: string;
  /** The event that told of it. */
  seq: number;
  /** Who. */
  user: UserId;
}

/** Data of `message.reacted`. */
export interface ReactedData {
  /** Who. */
  by: UserId;
  /** When, µs since the Unix epoch. */
  created_at: number;
  /** With what. */
  emoji: string;
  /** The op of the change. */
  op: Op;
  /** True if the reaction was taken back. */
  removed: boolean;
  /** The message. */
  seq: number;
}

/** One kind of reaction to a message. */
export interface Reaction {
  /** How many users chose it. */
  count: number;
  /** The emoji. */
  emoji: string;
  /** True if the caller did. */
  own?: boolean;
}

/** Arguments of `receipt.delivered`. */
export interface ReceiptDeliveredParams {
  /** Some device of the caller has everything up to here; clamped to the head, never goes back. */
  seq: number;
}

/** Result of `receipt.delivered`. */
export interface ReceiptDeliveredResult {
  /** The mark as stored. */
  seq: number;
}

/** Arguments of `receipt.list`. */
export interface ReceiptListParams {
  /** Counts who received and who read the log up to here; absent: up to its end. */
  seq?: number | null;
}

/** Result of `receipt.list`. */
export interface ReceiptListResult {
  /** Members who have received up to there. */
  delivered: number;
  /** Every member's marks, by user; absent in channels and in rooms above `crate::limits::ROOM_LARGE_ABOVE` members. */
  marks?: Mark[] | null;
  /** Members who have read up to there, the caller included. */
  read: number;
  /** What the counts are about. */
  seq: number;
}

/** Arguments of `receipt.read`. */
export interface ReceiptReadParams {
  /** The caller has read up to here; clamped to the head, never goes back. */
  seq: number;
}

/** Result of `receipt.read`. */
export interface ReceiptReadResult {
  /** The mark as stored. */
  seq: number;
}

/** Data of `receipts`: the marks that moved, as they stand. */
export interface ReceiptsData {
  /** One per member. */
  marks: Mark[];
}

/** The event `receipts`. */
export interface ReceiptsEvent {
  data: ReceiptsData;
  event: "receipts";
  room: RoomId;
}

/** The thread that begins with a message. */
export interface Replies {
  /** Its messages that were not taken away, without the first. */
  count: number;
  /** When that was, µs since the Unix epoch. */
  last_at: number;
  /** The last one that came. */
  last_seq: number;
}

/** What a member may do. */
export type Role = "reader" | "member" | "admin" | "owner";

/** A room, without its members. */
export interface Room {
  /** The attachment that shows it. */
  avatar?: string | null;
  /** When, µs since the Unix epoch. */
  created_at: number;
  /** Who made it. */
  created_by: UserId;
  /** Its id. */
  id: RoomId;
  /** Its kind. */
  kind: RoomKind;
  /** The name to show; empty for `direct`. */
  name: string;
  /** How it is used; absent where all settings are as in a new room. */
  settings?: Settings;
  /** What it is about; absent if empty. */
  topic?: string;
}

/** The event `room.bump`. */
export interface RoomBumpEvent {
  data: Empty;
  event: "room.bump";
  room: RoomId;
  /** Its place in the room. */
  seq: number;
}

/** Arguments of `room.create`. */
export interface RoomCreateParams {
  /** The same id as the request's `room`. */
  id: RoomId;
  /** The kind. */
  kind: RoomKind;
  /** Users beside the caller, who becomes owner (`direct`: both are members). */
  members?: UserId[];
  /** The name to show; empty for `direct`. */
  name?: string;
  /** Name of this change. */
  op: Op;
}

/** Result of `room.create`. */
export interface RoomCreateResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The room. */
  room: Room;
  /** The event's place in the room; 0 for joins and leaves that are no events. */
  seq: number;
}

/** The event `room.created`. */
export interface RoomCreatedEvent {
  data: CreatedData;
  event: "room.created";
  room: RoomId;
  /** Its place in the room. */
  seq: number;
}

/** Arguments of `room.delete`. */
export interface RoomDeleteParams {
  /** Name of this change. */
  op: Op;
}

/** Result of `room.delete`. */
export interface RoomDeleteResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The event's place in the room; 0 if the change is no event. */
  seq: number;
}

/** Data of `room.deleted`. */
export interface RoomDeletedData {
  /** Who did it. */
  by: UserId;
  /** When, µs since the Unix epoch. */
  created_at: number;
  /** The op of the change. */
  op: Op;
}

/** The event `room.deleted`. */
export interface RoomDeletedEvent {
  data: RoomDeletedData;
  event: "room.deleted";
  room: RoomId;
  /** Its place in the room. */
  seq: number;
}

/** Arguments of `room.get`. */
export type RoomGetParams = Record<string, never>;

/** Result of `room.get`. */
export interface RoomGetResult {
  /** How many members it has. */
  member_count: number;
  /** Its members, by user id: the first `crate::limits::ROOM_GET_MEMBERS_MAX` of them. */
  members: Member[];
  /** Its number of messages. */
  n: number;
  /** The room. */
  room: Room;
  /** Its last event. */
  seq: number;
}

/** A conversation: direct, group or channel. */
export type RoomId = string;

/** Arguments of `room.join`. */
export interface RoomJoinParams {
  /** Name of this change. */
  op: Op;
}

/** Result of `room.join`. */
export interface RoomJoinResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The room. */
  room: Room;
  /** The event's place in the room; 0 for joins and leaves that are no events. */
  seq: number;
}

/** What kind of conversation a room is. */
export type RoomKind = "direct" | "group" | "channel";

/** Arguments of `room.leave`. */
export interface RoomLeaveParams {
  /** Name of this change. */
  op: Op;
}

/** Result of `room.leave`. */
export interface RoomLeaveResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The event's place in the room; 0 if the change is no event. */
  seq: number;
}

/** Arguments of `room.list`. */
export interface RoomListParams {
  /** Only rooms after this id. */
  after?: RoomId | null;
  /** At most this many, and at most `crate::limits::SYNC_ROOMS_MAX`. */
  limit?: number | null;
}

/** Result of `room.list`. */
export interface RoomListResult {
  /** True if another page follows. */
  more: boolean;
  /** The caller's rooms, by id. */
  rooms: Room[];
}

/** The event `room.preferences`. */
export interface RoomPreferencesEvent {
  data: Preferences;
  event: "room.preferences";
  room: RoomId;
}

/** Arguments of `room.preferences`. */
export interface RoomPreferencesParams {
  /** See `Preferences::archived`. */
  archived?: boolean | null;
  /** See `Preferences::muted_until`. */
  muted_until?: number | null;
  /** Name of this change. */
  op: Op;
  /** Whether the room stands on top of the list. */
  pinned?: boolean | null;
}

/** Result of `room.preferences`. */
export interface RoomPreferencesResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** As they stand now. */
  preferences: Preferences;
}

/** How many members of a room are there. */
export interface RoomPresence {
  /** False if `online` was estimated from some of them. */
  exact: boolean;
  /** Members. */
  members: number;
  /** Of these are online or away. */
  online: number;
}

/** Where a room and the caller's marks in it stand. */
export interface RoomState {
  /** The first event that the caller may see. */
  from_seq: number;
  /** The last message, for the list. */
  last_message?: Message | null;
  /** Those that mention the caller. */
  mentions: number;
  /** Its number of messages. */
  n: number;
  /** How the caller keeps the room; absent if he left it as it came. */
  preferences?: Preferences;
  /** The caller's read mark. */
  read_seq: number;
  /** The caller's role. */
  role: Role;
  /** The room. */
  room: Room;
  /** Its last event. */
  seq: number;
  /** Messages after the mark that are not the caller's, exact up to `crate::limits::UNREAD_COUNT_MAX`. */
  unread: number;
}

/** Arguments of `room.update`. */
export interface RoomUpdateParams {
  /** The attachment that shows it; `null` takes it away. */
  avatar?: string | null;
  /** The name to show. */
  name?: string | null;
  /** Name of this change. */
  op: Op;
  /** How it is used. */
  settings?: SettingsChange | null;
  /** What the room is about. */
  topic?: string | null;
}

/** Result of `room.update`. */
export interface RoomUpdateResult {
  /** True if the op had been applied before. */
  duplicate: boolean;
  /** The room. */
  room: Room;
  /** The event's place in the room; 0 for joins and leaves that are no events. */
  seq: number;
}

/** The event `room.updated`. */
export interface RoomUpdatedEvent {
  data: UpdatedData;
  event: "room.updated";
  room: RoomId;
  /** Its place in the room. */
  seq: number;
}

/** Arguments of `search`. */
export interface SearchParams {
  /** At most this many, and at most `crate::limits::SEARCH_MAX`. */
  limit?: number | null;
  /** Continues a search: `next` of the page before. */
  page?: string | null;
  /** Like that of `SearchRoom`. */
  query: string;
}

/** Result of `search`. */
export interface SearchResult {
  /** Threads: ascending. Searches: the newest first. */
  messages: Message[];
  /** True if there is more in the direction that was asked. */
  more: boolean;
  /** Of `search`: ask again with `page` set to this. */
  next?: string | null;
}

/** From where a user who is added to a group sees its log. */
export type Seen = "join" | "all";

/** What one login has open on one connection. */
export type SessionId = string;

/** Arguments of `session.look`. */
export interface SessionLookParams {
  /** Large rooms whose events come one by one, at most `crate::limits::LOOK_ROOMS_MAX`; of all other large rooms the connection hears by one `room.bump` per room and second. */
  rooms: RoomId[];
}

/** Result of `session.look`. */
export type SessionLookResult = Record<string, never>;

/** Arguments of `session.open`. */
export interface SessionOpenParams {
  /** An access token. */
  token: string;
}

/** Result of `session.open`. */
export interface SessionOpenResult {
  /** Names the life of the database; another one means that cursors are void. */
  epoch: string;
  /** The token's end, seconds since the Unix epoch; the session ends `crate::limits::TOKEN_GRACE_S` later. */
  expires_at: number;
  /** Names of optional parts that this edge has. */
  features: string[];
  /** The edge pings this often. */
  heartbeat_ms: number;
  /** What the client may rely on. */
  limits: Limits;
  /** The edge's clock, µs since the Unix epoch. */
  server_time: number;
  /** The session. */
  session: SessionId;
  /** Who the session belongs to; a session never changes its user. */
  user: UserId;
}

/** Arguments of `session.refresh`. */
export interface SessionRefreshParams {
  /** An access token. */
  token: string;
}

/** Result of `session.refresh`. */
export interface SessionRefreshResult {
  /** Names the life of the database; another one means that cursors are void. */
  epoch: string;
  /** The token's end, seconds since the Unix epoch; the session ends `crate::limits::TOKEN_GRACE_S` later. */
  expires_at: number;
  /** Names of optional parts that this edge has. */
  features: string[];
  /** The edge pings this often. */
  heartbeat_ms: number;
  /** What the client may rely on. */
  limits: Limits;
  /** The edge's clock, µs since the Unix epoch. */
  server_time: number;
  /** The session. */
  session: SessionId;
  /** Who the session belongs to; a session never changes its user. */
  user: UserId;
}

/** Settings of a room. */
export interface Settings {
  /** The lowest role that adds members and makes invites; never `reader`. */
  add?: Role;
  /** The lowest role that changes name, topic and avatar; never `reader`. */
  change?: Role;
  /** An own message may be edited for this long, seconds; 0: never. */
  edit_window_s?: number;
  /** What new members of a group see of its log. */
  history?: Seen;
  /** The lowest role that may mention everybody at once; never `reader`. */
  mention_all?: Role;
  /** The lowest role that pins messages; never `reader`. */
  pin?: Role;
  /** Members below `admin` wait this long between two messages, seconds; 0: not at all. */
  slow_mode_s?: number;
  /** The lowest role that writes; never `reader`. */
  write?: Role;
}

/** What of them is to change; what is absent stays. */
export interface SettingsChange {
  /** The lowest role that adds members and makes invites; never `reader`. */
  add?: Role | null;
  /** The lowest role that changes name, topic and avatar; never `reader`. */
  change?: Role | null;
  /** An own message may be edited for this long, seconds; 0: never. */
  edit_window_s?: number | null;
  /** What new members of a group see of its log. */
  history?: Seen | null;
  /** The lowest role that may mention everybody at once; never `reader`. */
  mention_all?: Role | null;
  /** The lowest role that pins messages; never `reader`. */
  pin?: Role | null;
  /** Members below `admin` wait this long between two messages, seconds; 0: not at all. */
  slow_mode_s?: number | null;
  /** The lowest role that writes; never `reader`. */
  write?: Role | null;
}

/** A message of some room. */
export interface Source {
  /** The room. */
  room: RoomId;
  /** Its place there. */
  seq: number;
}

/** How a user is. */
export type State = "online" | "away" | "offline";

/** One subscription, without its keys. */
export interface Subscription {
  /** When it was made, µs since the Unix epoch. */
  created_at: number;
  /** Its id. */
  id: string;
  /** The endpoint's scheme and host. */
  origin: string;
  /** True if the calling login made it. */
  own: boolean;
}

/** Data of `system.sync`. */
export interface SyncData {
  /** Wait a random part of this before the sync. */
  spread_ms: number;
}

/** Arguments of `sync`. */
export interface SyncParams {
  /** The cursor that the last complete sync returned; absent: everything. */
  cursor?: string | null;
  /** Rooms per page, at most `crate::limits::SYNC_ROOMS_MAX`. */
  limit?: number | null;
  /** Continues a sync of several pages: `next` of the page before. */
  page?: string | null;
}

/** Result of `sync`. */
export interface SyncResult {
  /** Keep it when `next` is absent: the next sync starts there. */
  cursor: string;
  /** Rooms that the caller is no member of any more, each with his last event. */
  left: Left[];
  /** Ask again with `page` set to this: there is more. */
  next?: string | null;
  /** True if the cursor was unknown or of another epoch: this is everything, forget what is not in it. */
  reset: boolean;
  /** Rooms whose head or whose own member row changed, by id. */
  rooms: RoomState[];
}

/** The event `system.migrate`. */
export interface SystemMigrateEvent {
  data: MigrateData;
  event: "system.migrate";
}

/** The event `system.sync`. */
export interface SystemSyncEvent {
  data: SyncData;
  event: "system.sync";
}

/** Arguments of `totp.confirm`. */
export interface TotpConfirmParams {
  /** Six digits. */
  code: string;
}

/** Result of `totp.confirm`. */
export type TotpConfirmResult = Record<string, never>;

/** Arguments of `totp.disable`. */
export interface TotpDisableParams {
  /** A code of the second factor or a recovery code, if one is in force. */
  code?: string | null;
  /** The password again. */
  password: string;
}

/** Result of `totp.disable`. */
export type TotpDisableResult = Record<string, never>;

/** Arguments of `totp.enroll`. */
export interface TotpEnrollParams {
  /** The password again. */
  password: string;
}

/** Result of `totp.enroll`. */
export interface TotpEnrollResult {
  /** Each is good once, in place of a code. Shown this one time. */
  recovery_codes: string[];
  /** The shared secret, base32 without padding (RFC 4648 §6). */
  secret: string;
  /** The same for a QR code: `otpauth://totp/…`. */
  uri: string;
}

/** Data of `typing`. */
export interface TypingData {
  /** Whether he is typing. */
  typing: boolean;
  /** Who. */
  user: UserId;
}

/** The event `typing`. */
export interface TypingEvent {
  data: TypingData;
  event: "typing";
  room: RoomId;
}

/** Arguments of `typing.set`. */
export interface TypingSetParams {
  /** Whether the caller is typing. */
  typing: boolean;
}

/** Result of `typing.set`. */
export type TypingSetResult = Record<string, never>;

/** Data of `unread`. */
export interface UnreadData {
  /** Like `super::sync::RoomState::mentions`. */
  mentions: number;
  /** The caller's read mark. */
  read_seq: number;
  /** Like `super::sync::RoomState::unread`. */
  unread: number;
}

/** The event `unread`. */
export interface UnreadEvent {
  data: UnreadData;
  event: "unread";
  room: RoomId;
}

/** Data of `room.updated`. */
export interface UpdatedData {
  /** Who did it. */
  by: UserId;
  /** When, µs since the Unix epoch. */
  created_at: number;
  /** The op of the change. */
  op: Op;
  /** The room as it is from here on. */
  room: Room;
}

/** What others see of an account, as a login answers it. */
export interface User {
  /** When it was made, µs since the Unix epoch. */
  created_at: number;
  /** The name to show. */
  display_name: string;
  /** Its id. */
  id: UserId;
  /** Unique lower-case name. */
  username: string;
}

/** Data of `user.updated`. */
export interface UserData {
  /** As it is now. */
  user: Profile;
}

/** Arguments of `user.get`. */
export interface UserGetParams {
  /** At most `crate::limits::USER_GET_MAX` ids. */
  users: UserId[];
}

/** Result of `user.get`. */
export interface UserGetResult {
  /** True if the answer became too long: ask again for those that are missing. */
  more?: boolean;
  /** The profiles. */
  users: Profile[];
}

/** The account. */
export type UserId = string;

/** Arguments of `user.me`. */
export type UserMeParams = Record<string, never>;

/** Result of `user.me`. */
export interface UserMeResult {
  /** Who is told when he was last seen. */
  last_seen_visible?: Visible | null;
  /** The caller. */
  user: Profile;
}

/** Arguments of `user.search`. */
export interface UserSearchParams {
  /** Users at most (20; up to `crate::limits::USER_SEARCH_MAX`). */
  limit?: number | null;
  /** The `next` of the page before. */
  page?: string | null;
  /** Starts of words, separated by spaces: each must begin the user name or a word of the display name. */
  query: string;
}

/** Result of `user.search`. */
export interface UserSearchResult {
  /** Where the next page begins; absent at the end. */
  next?: string | null;
  /** By the word that was found. May be fewer than asked for, or none, although there are more. */
  users: Profile[];
}

/** Arguments of `user.update`. */
export interface UserUpdateParams {
  /** Up to `crate::limits::ABOUT_BYTES_MAX` bytes. */
  about?: string | null;
  /** An attachment, or `null` for none. */
  avatar?: string | null;
  /** The name to show, 1 to `crate::limits::DISPLAY_NAME_BYTES_MAX` bytes. */
  display_name?: string | null;
  /** Who is told when the user was last seen. */
  last_seen_visible?: Visible | null;
  /** Names the change. */
  op: Op;
}

/** Result of `user.update`. */
export interface UserUpdateResult {
  /** True if this op was applied before; the rest is what it led to then. */
  duplicate: boolean;
  /** Who is told when he was last seen. */
  last_seen_visible: Visible;
  /** The caller, as he is now. */
  user: Profile;
}

/** The event `user.updated`. */
export interface UserUpdatedEvent {
  data: UserData;
  event: "user.updated";
}

/** What a message said before an edit. */
export interface Version {
  /** The edit that replaced it. */
  edit_seq: number;
  /** Its entities. */
  entities?: Entity[];
  /** The text until then. */
  text: string;
  /** When it was replaced, µs since the Unix epoch. */
  until: number;
}

/** Who is told when a user was last seen. */
export type Visible = "everyone" | "contacts" | "nobody";

/** Arguments and result of every method. */
export interface Methods {
  "auth.register": { params: AuthRegisterParams; result: AuthRegisterResult };
  "auth.login": { params: AuthLoginParams; result: AuthLoginResult };
  "auth.refresh": { params: AuthRefreshParams; result: AuthRefreshResult };
  "auth.logout": { params: AuthLogoutParams; result: AuthLogoutResult };
  "auth.logins": { params: AuthLoginsParams; result: AuthLoginsResult };
  "auth.revoke_login": { params: AuthRevokeLoginParams; result: AuthRevokeLoginResult };
  "auth.change_password": { params: AuthChangePasswordParams; result: AuthChangePasswordResult };
  "auth.request_reset": { params: AuthRequestResetParams; result: AuthRequestResetResult };
  "auth.reset_password": { params: AuthResetPasswordParams; result: AuthResetPasswordResult };
  "auth.delete_account": { params: AuthDeleteAccountParams; result: AuthDeleteAccountResult };
  "auth.set_email": { params: AuthSetEmailParams; result: AuthSetEmailResult };
  "auth.confirm_email": { params: AuthConfirmEmailParams; result: AuthConfirmEmailResult };
  "totp.enroll": { params: TotpEnrollParams; result: TotpEnrollResult };
  "totp.confirm": { params: TotpConfirmParams; result: TotpConfirmResult };
  "totp.disable": { params: TotpDisableParams; result: TotpDisableResult };
  "session.open": { params: SessionOpenParams; result: SessionOpenResult };
  "session.refresh": { params: SessionRefreshParams; result: SessionRefreshResult };
  "session.look": { params: SessionLookParams; result: SessionLookResult };
  "user.me": { params: UserMeParams; result: UserMeResult };
  "user.get": { params: UserGetParams; result: UserGetResult };
  "room.list": { params: RoomListParams; result: RoomListResult };
  "sync": { params: SyncParams; result: SyncResult };
  "user.search": { params: UserSearchParams; result: UserSearchResult };
  "user.update": { params: UserUpdateParams; result: UserUpdateResult };
  "contact.list": { params: ContactListParams; result: ContactListResult };
  "contact.set": { params: ContactSetParams; result: ContactSetResult };
  "contact.remove": { params: ContactRemoveParams; result: ContactRemoveResult };
  "block.list": { params: BlockListParams; result: BlockListResult };
  "block.add": { params: BlockAddParams; result: BlockAddResult };
  "block.remove": { params: BlockRemoveParams; result: BlockRemoveResult };
  "presence.watch": { params: PresenceWatchParams; result: PresenceWatchResult };
  "presence.set": { params: PresenceSetParams; result: PresenceSetResult };
  "push.subscribe": { params: PushSubscribeParams; result: PushSubscribeResult };
  "push.unsubscribe": { params: PushUnsubscribeParams; result: PushUnsubscribeResult };
  "push.list": { params: PushListParams; result: PushListResult };
  "room.create": { params: RoomCreateParams; result: RoomCreateResult };
  "room.get": { params: RoomGetParams; result: RoomGetResult };
  "room.join": { params: RoomJoinParams; result: RoomJoinResult };
  "room.leave": { params: RoomLeaveParams; result: RoomLeaveResult };
  "room.update": { params: RoomUpdateParams; result: RoomUpdateResult };
  "room.delete": { params: RoomDeleteParams; result: RoomDeleteResult };
  "room.preferences": { params: RoomPreferencesParams; result: RoomPreferencesResult };
  "member.add": { params: MemberAddParams; result: MemberAddResult };
  "member.remove": { params: MemberRemoveParams; result: MemberRemoveResult };
  "member.list": { params: MemberListParams; result: MemberListResult };
  "member.set_role": { params: MemberSetRoleParams; result: MemberSetRoleResult };
  "member.ban": { params: MemberBanParams; result: MemberBanResult };
  "member.unban": { params: MemberUnbanParams; result: MemberUnbanResult };
  "member.bans": { params: MemberBansParams; result: MemberBansResult };
  "invite.create": { params: InviteCreateParams; result: InviteCreateResult };
  "invite.list": { params: InviteListParams; result: InviteListResult };
  "invite.revoke": { params: InviteRevokeParams; result: InviteRevokeResult };
  "invite.look": { params: InviteLookParams; result: InviteLookResult };
  "invite.accept": { params: InviteAcceptParams; result: InviteAcceptResult };
  "message.send": { params: MessageSendParams; result: MessageSendResult };
  "message.history": { params: MessageHistoryParams; result: MessageHistoryResult };
  "message.edit": { params: MessageEditParams; result: MessageEditResult };
  "message.delete": { params: MessageDeleteParams; result: MessageDeleteResult };
  "message.react": { params: MessageReactParams; result: MessageReactResult };
  "message.pin": { params: MessagePinParams; result: MessagePinResult };
  "message.thread": { params: MessageThreadParams; result: MessageThreadResult };
  "message.search": { params: MessageSearchParams; result: MessageSearchResult };
  "message.pins": { params: MessagePinsParams; result: MessagePinsResult };
  "message.edits": { params: MessageEditsParams; result: MessageEditsResult };
  "message.reactions": { params: MessageReactionsParams; result: MessageReactionsResult };
  "search": { params: SearchParams; result: SearchResult };
  "typing.set": { params: TypingSetParams; result: TypingSetResult };
  "receipt.read": { params: ReceiptReadParams; result: ReceiptReadResult };
  "receipt.delivered": { params: ReceiptDeliveredParams; result: ReceiptDeliveredResult };
  "receipt.list": { params: ReceiptListParams; result: ReceiptListResult };
}

/** Methods that `POST /v1/rpc` alone carries. */
export const HTTP_ONLY = [
  "auth.register",
  "auth.login",
  "auth.refresh",
  "auth.change_password",
  "auth.request_reset",
  "auth.reset_password",
  "auth.delete_account",
  "auth.set_email",
  "auth.confirm_email",
  "totp.enroll",
  "totp.confirm",
  "totp.disable",
] as const satisfies readonly (keyof Methods)[];

/** Every event. */
export type HubEvent =
  | RoomCreatedEvent
  | MessageCreatedEvent
  | MemberAddedEvent
  | MemberRemovedEvent
  | MemberUpdatedEvent
  | RoomUpdatedEvent
  | RoomDeletedEvent
  | MessageEditedEvent
  | MessageDeletedEvent
  | MessageReactedEvent
  | MessagePinnedEvent
  | TypingEvent
  | ReceiptsEvent
  | UnreadEvent
  | MessageHiddenEvent
  | RoomPreferencesEvent
  | RoomBumpEvent
  | PresenceEvent
  | UserUpdatedEvent
  | SystemSyncEvent
  | SystemMigrateEvent;

/** Close codes: those of RFC 6455 that are used, and ours. */
export const CLOSE_CODES = {
  Normal: 1000,
  GoingAway: 1001,
  Protocol: 1002,
  Unsupported: 1003,
  InvalidText: 1007,
  Policy: 1008,
  TooLarge: 1009,
  Internal: 1011,
  Drain: 4000,
  Slow: 4001,
  Heartbeat: 4002,
  Overload: 4003,
  BackboneLost: 4004,
  TokenInvalid: 4500,
  Revoked: 4501,
  Abuse: 4502,
  Replaced: 4503,
  NoSession: 4504,
} as const;
