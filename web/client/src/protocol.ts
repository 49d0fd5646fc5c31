// Generated from crates/protocol by `cargo run -p hub-protocol --bin hub-schema`. Do not edit.
// Times are microseconds since the Unix epoch; ids are UUIDs in text form.

/** A durable event. */
export type AnyEvent = RoomCreatedEvent | MessageCreatedEvent | MemberAddedEvent | MemberRemovedEvent;

/** Arguments of `auth.login`. */
export interface AuthLoginParams {
  /** 8 to 256 bytes. */
  password: string;
  /** Lower-case name, 3 to 32 bytes of `a-z 0-9 _ . -`. */
  username: string;
}

/** Result of `auth.login`. */
export interface AuthLoginResult {
  /** Opens a session. */
  access_token: string;
  /** Life of the access token, seconds. */
  expires_in: number;
  /** Renews the login, once. */
  refresh_token: string;
  /** Who logged in. */
  user: User;
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
  /** Life of the access token, seconds. */
  expires_in: number;
  /** Renews the login, once. */
  refresh_token: string;
  /** Who logged in. */
  user: User;
}

/** Arguments of `auth.register`. */
export interface AuthRegisterParams {
  /** 8 to 256 bytes. */
  password: string;
  /** Lower-case name, 3 to 32 bytes of `a-z 0-9 _ . -`. */
  username: string;
}

/** Result of `auth.register`. */
export interface AuthRegisterResult {
  /** Opens a session. */
  access_token: string;
  /** Life of the access token, seconds. */
  expires_in: number;
  /** Renews the login, once. */
  refresh_token: string;
  /** Who logged in. */
  user: User;
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

/** Arguments of a method that takes none, and the result of one that returns none. */
export type Empty = Record<string, never>;

/** The `error` member of a response. */
export interface ErrorBody {
  /** What kind of refusal. */
  code: ErrorCode;
  /** One sentence for a developer; never holds secrets or internals. */
  message: string;
  /** When to try again, in milliseconds. */
  retry_after_ms?: number | null;
  /** Whether the same request may succeed later. */
  retryable: boolean;
}

/** The `code` of an error. Final codes mean: not stored, and will not be. Retryable ones mean: not stored yet. */
export type ErrorCode = "bad_request" | "unauthenticated" | "forbidden" | "not_found" | "conflict" | "too_large" | "rate_limited" | "busy" | "unavailable" | "internal";

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

/** Data of `member.added` and `member.removed`. */
export interface MemberData {
  /** Who did it. */
  by: UserId;
  /** When, µs since the Unix epoch. */
  created_at: number;
  /** The op of the change. */
  op: Op;
  /** His role; absent when removed. */
  role?: Role | null;
  /** Whom it concerns. */
  user: UserId;
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

/** A stored message. */
export interface Message {
  /** The op it was sent with: replaces the sender's optimistic entry. */
  client_message_id: Op;
  /** When it was stored, µs since the Unix epoch; grows with `seq`. */
  created_at: number;
  /** Its place among the room's messages. */
  n: number;
  /** Where it stands. */
  room: RoomId;
  /** Who wrote it. */
  sender: UserId;
  /** Its place among the room's events. */
  seq: number;
  /** What it says. */
  text: string;
}

/** The event `message.created`. */
export interface MessageCreatedEvent {
  data: Message;
  event: "message.created";
  room: RoomId;
  /** Its place in the room. */
  seq: number;
}

/** Arguments of `message.history`. */
export interface MessageHistoryParams {
  /** Events with a greater `seq`, oldest first. */
  after?: number | null;
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
  /** True if the range goes on in the direction that was asked. */
  more: boolean;
}

/** Arguments of `message.send`. */
export interface MessageSendParams {
  /** Name of this change, made once and kept over retries. */
  client_message_id: Op;
  /** 1 to `crate::limits::TEXT_BYTES_MAX` bytes, no NUL. */
  text: string;
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

/** Data of `system.migrate`. */
export interface MigrateData {
  /** Open another connection within this time. */
  within_ms: number;
}

/** The client's name for one change, kept over retries (`UUIDv7`, RFC 9562 §5.7). For `message.send` it travels as `client_message_id`. */
export type Op = string;

/** Data of `receipt.read`. */
export interface ReadData {
  /** Where it stands. */
  seq: number;
  /** Whose mark. */
  user: UserId;
}

/** The event `receipt.read`. */
export interface ReceiptReadEvent {
  data: ReadData;
  event: "receipt.read";
  room: RoomId;
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

/** What a member may do. */
export type Role = "reader" | "member" | "admin" | "owner";

/** A room, without its members. */
export interface Room {
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

/** Arguments of `room.get`. */
export type RoomGetParams = Record<string, never>;

/** Result of `room.get`. */
export interface RoomGetResult {
  /** Its members, by user id. */
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

/** What one login has open on one connection. */
export type SessionId = string;

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

/** What others see of an account. */
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

/** Arguments of `user.get`. */
export interface UserGetParams {
  /** At most `crate::limits::USER_GET_MAX` ids. */
  users: UserId[];
}

/** Result of `user.get`. */
export interface UserGetResult {
  /** The profiles. */
  users: User[];
}

/** The account. */
export type UserId = string;

/** Arguments of `user.me`. */
export type UserMeParams = Record<string, never>;

/** Result of `user.me`. */
export interface UserMeResult {
  /** The caller. */
  user: User;
}

/** Arguments and result of every method. */
export interface Methods {
  "auth.register": { params: AuthRegisterParams; result: AuthRegisterResult };
  "auth.login": { params: AuthLoginParams; result: AuthLoginResult };
  "auth.refresh": { params: AuthRefreshParams; result: AuthRefreshResult };
  "auth.logout": { params: AuthLogoutParams; result: AuthLogoutResult };
  "session.open": { params: SessionOpenParams; result: SessionOpenResult };
  "session.refresh": { params: SessionRefreshParams; result: SessionRefreshResult };
  "user.me": { params: UserMeParams; result: UserMeResult };
  "user.get": { params: UserGetParams; result: UserGetResult };
  "room.list": { params: RoomListParams; result: RoomListResult };
  "sync": { params: SyncParams; result: SyncResult };
  "room.create": { params: RoomCreateParams; result: RoomCreateResult };
  "room.get": { params: RoomGetParams; result: RoomGetResult };
  "room.join": { params: RoomJoinParams; result: RoomJoinResult };
  "room.leave": { params: RoomLeaveParams; result: RoomLeaveResult };
  "member.add": { params: MemberAddParams; result: MemberAddResult };
  "member.remove": { params: MemberRemoveParams; result: MemberRemoveResult };
  "message.send": { params: MessageSendParams; result: MessageSendResult };
  "message.history": { params: MessageHistoryParams; result: MessageHistoryResult };
  "typing.set": { params: TypingSetParams; result: TypingSetResult };
  "receipt.read": { params: ReceiptReadParams; result: ReceiptReadResult };
}

/** Methods that `POST /v1/rpc` alone carries. */
export const HTTP_ONLY = [
  "auth.register",
  "auth.login",
  "auth.refresh",
] as const satisfies readonly (keyof Methods)[];

/** Every event. */
export type HubEvent =
  | RoomCreatedEvent
  | MessageCreatedEvent
  | MemberAddedEvent
  | MemberRemovedEvent
  | TypingEvent
  | ReceiptReadEvent
  | RoomBumpEvent
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
