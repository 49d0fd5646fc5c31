"""Every method, by every kind of caller, in every state of a room, against the table in expectations.txt.

  HUB_HTTP_URL=... HUB_WS_URL=... authz.py TOKENS

TOKENS is what `hub-services seed` wrote: users who need no registration. A call that changed something takes its room
with it: the next one gets a fresh room. Prints every difference, `checks=N`, and last `N passed, N failed`.
AUTHZ_ONLY, a regular expression, picks rows and malformed calls by their name.
"""

import base64
import concurrent.futures
import http.client
import json
import os
import queue
import re
import sys
import threading
import time
import traceback
import urllib.parse
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
HTTP = urllib.parse.urlsplit(os.environ["HUB_HTTP_URL"])
WS = os.environ["HUB_WS_URL"]
THREADS = 6
WAIT = 30
WORD = "zwetschge"
LATER = "nachtrag"
PASSWORD = "correct horse battery"
LETTERS = {
    "bad_request": "b",
    "conflict": "c",
    "forbidden": "f",
    "not_found": "n",
    "unauthenticated": "u",
}
# The callers of a row, in the order of its letters.
ROOM_CALLERS = ["owner", "admin", "member", "reader", "left", "removed", "banned", "stranger", "none", "forged"]
PAIR_CALLERS = ["maker", "other", "stranger", "none", "forged"]
STATES = {"group": ROOM_CALLERS, "channel": ROOM_CALLERS, "deleted": ROOM_CALLERS, "direct": PAIR_CALLERS, "blocked": PAIR_CALLERS}
USER_CALLERS = ["token", "none", "forged"]
# Members beside those who call: targets of calls.
TARGETS = ["target", "target_admin", "target_reader"]


def uuid7():
    value = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (7 << 76)
    return str(uuid.UUID(int=(value & ~(0x3 << 62)) | (0x2 << 62)))


def direct_room(one, other):
    value = 0x6C62272E07BB014262B821756295C58D
    low, high = sorted([uuid.UUID(one).bytes, uuid.UUID(other).bytes])
    for byte in low + high:
        value = ((value ^ byte) * 0x1000000000000000000013B) % 2**128
    value = (value & ~(0xF << 76)) | (8 << 76)
    return str(uuid.UUID(int=(value & ~(0x3 << 62)) | (0x2 << 62)))


class User:
    def __init__(self, id, name, token, refresh=None):
        self.id, self.name, self.token, self.refresh = id, name, token, refresh

    def forged(self):
        head, body, signature = self.token.split(".")
        other = "B" if signature[10] == "A" else "A"
        return ".".join([head, body, signature[:10] + other + signature[11:]])


class Api:
    """One connection that is kept; one per thread."""

    def __init__(self):
        self.connection = None

    def call(self, token, method, params, room=None):
        request = {"id": 1, "method": method, "params": params}
        if room is not None:
            request["room"] = room
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = "Bearer " + token
        body = json.dumps(request)
        for _ in range(20):
            answer = self.exchange(body, headers)
            error = answer.get("error")
            if not error or not error.get("retryable"):
                return answer
            time.sleep(min(error.get("retry_after_ms", 200), 2000) / 1000)
        return answer

    def exchange(self, body, headers):
        for attempt in range(2):
            if self.connection is None:
                kind = http.client.HTTPSConnection if HTTP.scheme == "https" else http.client.HTTPConnection
                self.connection = kind(HTTP.hostname, HTTP.port, timeout=WAIT)
            try:
                self.connection.request("POST", "/v1/rpc", body, headers)
                response = self.connection.getresponse()
                return json.loads(response.read())
            except (http.client.HTTPException, ConnectionError):
                # The other side closed a connection that was idle; every change has its op, a repeat is harmless.
                self.connection = None
                if attempt:
                    raise

    def must(self, user, method, params, room=None):
        answer = self.call(user.token, method, params, room)
        if "result" not in answer:
            raise RuntimeError(f"a fixture failed: {method} {params}: {answer}")
        return answer["result"]


class Room:
    """A group or channel, or the direct room of two users, in one of its states."""

    def __init__(self, api, state, kind, who):
        self.api, self.state, self.kind, self.who = api, state, kind, who
        self.written = {}
        if kind == "direct":
            self.make_direct()
        else:
            self.make()

    def op(self, by, method, **params):
        return self.api.must(self.who[by], method, {"op": uuid7(), **params}, self.id)

    def say(self, name, by=None, word=WORD, **more):
        params = {"client_message_id": uuid7(), "text": f"{word} of {name}", **more}
        self.written[name] = self.api.must(by or self.who[name], "message.send", params, self.id)["seq"]

    def make(self):
        self.id = uuid7()
        inside = ["admin", "member", "reader", "left", "removed", "banned"] + TARGETS
        members = [self.who[name].id for name in inside]
        self.op("owner", "room.create", id=self.id, kind=self.kind, name="Room", members=members)
        roles = {"admin": "admin", "target_admin": "admin"}
        if self.kind == "channel":
            roles = dict.fromkeys(inside, "member") | roles
        for name, role in roles.items():
            self.op("owner", "member.set_role", user=self.who[name].id, role=role)
        for name in ["owner"] + inside[:6]:
            self.say(name)
        for name in ["reader", "target_reader"]:
            self.op("owner", "member.set_role", user=self.who[name].id, role="reader")
        made = self.op("owner", "invite.create")
        self.invite, self.code = made["invite"]["id"], made["code"]
        self.op("left", "room.leave")
        self.op("owner", "member.remove", user=self.who["removed"].id)
        self.op("owner", "member.ban", user=self.who["banned"].id)
        self.say("later", self.who["owner"], LATER)
        for name, root in [("reply", "owner"), ("reply_later", "later")]:
            self.say(name, self.who["owner"], LATER, thread=self.written[root])
        self.op("owner", "message.react", seq=self.written["later"], emoji="🍒")
        self.op("owner", "message.edit", seq=self.written["later"], text=LATER + " again")
        self.op("owner", "message.pin", seq=self.written["later"], pinned=True)
        if self.state == "deleted":
            self.op("owner", "room.delete")

    def make_direct(self):
        maker, other = self.who["maker"], self.who["other"]
        self.id = direct_room(maker.id, other.id)
        self.op("maker", "room.create", id=self.id, kind="direct", name="", members=[other.id])
        self.invite, self.code = uuid7(), "A" * 22
        self.say("maker")
        self.say("other")
        if self.state == "blocked":
            self.api.must(maker, "block.add", {"op": uuid7(), "user": other.id})

    def own(self, caller):
        return self.written.get(caller, self.written.get("member") or self.written.get("maker"))

    def other(self, caller):
        names = ["maker", "other"] if self.kind == "direct" else ["member", "owner"]
        return self.written[names[1] if caller == names[0] else names[0]]


# ---- The calls: what each row says, for a room and a caller.


def room_calls(room, caller, seeded):
    """The params of every row of part 1; a value that is a function is called, as some need a fixture of their own."""
    op = uuid7()
    later = room.written.get("later")
    who, own, other = room.who, room.own(caller), room.other(caller)
    target = (lambda name: who[name].id) if room.kind != "direct" else (lambda _: who["stranger"].id)
    missing = 10**6
    calls = {
        "room.create/taken": {"op": op, "id": room.id, "kind": "group", "name": "Mine", "members": []},
        "room.get": {},
        "room.get/members": {},
        "room.join": {"op": op},
        "room.leave": {"op": op},
        "room.update/name": {"op": op, "name": "Other"},
        "room.update/settings": {"op": op, "settings": {"slow_mode_s": 5}},
        "room.delete": {"op": op},
        "room.preferences": {"op": op, "archived": True},
        "member.list": {},
        "member.add/stranger": {"op": op, "user": target("newcomer")},
        "member.add/removed": {"op": op, "user": target("removed")},
        "member.add/banned": {"op": op, "user": target("banned")},
        "member.add/as_admin": {"op": op, "user": target("newcomer"), "role": "admin"},
        "member.set_role/member": {"op": op, "user": target("target"), "role": "reader"},
        "member.set_role/reader": {"op": op, "user": target("target_reader"), "role": "member"},
        "member.set_role/admin": {"op": op, "user": target("target_admin"), "role": "member"},
        "member.set_role/promote": {"op": op, "user": target("target"), "role": "admin"},
        "member.set_role/hand_over": {"op": op, "user": target("target"), "role": "owner"},
        "member.set_role/owner": {"op": op, "user": target("owner"), "role": "member"},
        "member.set_role/stranger": {"op": op, "user": target("newcomer"), "role": "reader"},
        "member.unban": {"op": op, "user": target("banned")},
        "member.bans": {},
        "invite.create": {"op": op},
        "invite.list": {},
        "invite.revoke": {"op": op, "invite": room.invite},
        "invite.look/code": {"code": room.code},
        "invite.look/wrong": {"code": "A" * 22},
        "invite.accept/code": {"op": op, "code": room.code},
        "invite.accept/wrong": {"op": op, "code": "A" * 22},
        "message.send": {"client_message_id": op, "text": "hello"},
        "message.send/reply": {"client_message_id": op, "text": "hello", "reply_to": other},
        "message.send/thread": {"client_message_id": op, "text": "hello", "thread": other},
        "message.send/forward": {"client_message_id": op, "forward": {"room": room.id, "seq": other}},
        "message.send/forward_unseen": {"client_message_id": op, "forward": seeded},
        "message.send/mention_all": {
            "client_message_id": op,
            "text": "hello",
            "entities": [{"type": "room", "offset": 0, "length": 5}],
        },
        "message.history": {},
        "message.edit/own": {"op": op, "seq": own, "text": "edited"},
        "message.edit/other": {"op": op, "seq": other, "text": "edited"},
        "message.edit/none": {"op": op, "seq": missing, "text": "edited"},
        "message.delete/all_own": {"op": op, "seq": own, "for": "all"},
        "message.delete/all_other": {"op": op, "seq": other, "for": "all"},
        "message.delete/me": {"op": op, "seq": other, "for": "me"},
        "message.delete/none": {"op": op, "seq": missing, "for": "all"},
        "message.react/add": {"op": op, "seq": other, "emoji": "👍"},
        "message.react/remove": {"op": op, "seq": other, "emoji": "👎", "remove": True},
        "message.pin/pin": {"op": op, "seq": other, "pinned": True},
        "message.pin/unpin": {"op": op, "seq": other, "pinned": False},
        "message.thread": {"root": other},
        "message.search": {"query": WORD},
        "message.pins": {},
        "message.history/later": {},
        "message.search/later": {"query": LATER},
        "message.pins/later": {},
        "message.thread/later": {"root": later},
        "message.thread/reply_later": {"root": room.written.get("owner")},
        "message.thread/none": {"root": missing},
        "message.edits/none": {"seq": missing},
        "message.reactions/none": {"seq": missing},
        "message.edits/later": {"seq": later},
        "message.reactions/later": {"seq": later},
        "message.edits/own": {"seq": own},
        "message.edits/other": {"seq": other},
        "message.reactions": {"seq": other},
        "typing.set": {"typing": True},
        "receipt.read": {"seq": other},
        "receipt.delivered": {"seq": other},
        "receipt.list": {},
    }
    for method in ["member.remove", "member.ban"]:
        for name, user in [
            ("member", "target"),
            ("reader", "target_reader"),
            ("admin", "target_admin"),
            ("owner", "owner"),
            ("stranger", "newcomer"),
        ]:
            calls[f"{method}/{name}"] = {"op": op, "user": target(user)}
    return calls


def paged(api, token, method, params, rooms, following):
    """The first refusal, or `+` or `e`: whether `rooms` finds anything on any page."""
    found = False
    while True:
        answer = api.call(token, method, params)
        if "result" not in answer:
            return outcome(answer), answer
        found = found or rooms(answer["result"])
        params = following(params, answer["result"])
        if found or params is None:
            return ("+" if found else "e"), answer


def outcome(answer):
    if "result" in answer:
        return "+"
    return LETTERS.get(answer["error"]["code"], answer["error"]["code"])


def call_in_room(api, row, room, caller, token, seeded):
    """The outcome of one row for one caller, and the whole answer."""
    if row == "room.create/new":
        mine = uuid7()
        params = {"op": uuid7(), "id": mine, "kind": room.kind, "name": "Mine", "members": []}
        answer = api.call(token, "room.create", params, mine)
    elif row == "room.create/pair":
        mate = room.who["maker" if caller == "other" else "other"]
        params = {"op": uuid7(), "id": room.id, "kind": "direct", "name": "", "members": [mate.id]}
        answer = api.call(token, "room.create", params, room.id)
    elif row == "room.list/this":
        before = str(uuid.UUID(int=uuid.UUID(room.id).int - 1))
        return paged(
            api, token, "room.list", {"after": before, "limit": 1},
            lambda result: room.id in json.dumps(result["rooms"]), lambda *_: None,
        )  # fmt: skip
    elif row == "sync/this":
        return paged(
            api, token, "sync", {"limit": 200},
            lambda result: any(found["room"] == room.id for found in map(flat, result["rooms"])),
            lambda params, result: params | {"page": result["next"]} if result.get("next") else None,
        )  # fmt: skip
    elif row in ("search/word", "search/later"):
        word = LATER if row == "search/later" else WORD
        return paged(
            api, token, "search", {"query": word, "limit": 50},
            lambda result: room.id in json.dumps(result["messages"]),
            lambda params, result: params | {"page": result["next"]} if result.get("next") else None,
        )  # fmt: skip
    elif row == "presence.watch/room":
        answer = api.call(token, "presence.watch", {"room": room.id})
    else:
        answer = api.call(token, row.split("/")[0], room_calls(room, caller, seeded)[row], room.id)
        result = answer.get("result", {})
        told = {
            "message.history/later": LATER in json.dumps(result),
            "message.search/later": result.get("messages"),
            "message.pins/later": result.get("pins"),
            "message.thread/later": result.get("messages"),
            "message.thread/reply_later": result.get("messages"),
            "message.thread/none": result.get("messages"),
            "room.get/members": result.get("members"),
        }
        if "result" in answer and row in told and not told[row]:
            return "e", answer
    return outcome(answer), answer


def flat(found):
    """An entry of a sync names its room by id, or holds its description."""
    return found | {"room": found["room"]["id"]} if isinstance(found["room"], dict) else found


READS = re.compile(
    r"^(room\.get|room\.list|room\.create/(new|taken)|sync|search|presence\.|member\.(list|bans)$|invite\.(list|look)|typing"
    r"|message\.(history|thread|search|pins|edits|reactions))"
)


# ---- The run.


class Run:
    def __init__(self, users):
        self.lock = threading.Lock()
        self.users = queue.SimpleQueue()
        for user in users:
            self.users.put(user)
        self.checks = self.failed = 0

    def user(self):
        return self.users.get_nowait()

    def cast(self):
        return {name: self.user() for name in ROOM_CALLERS[:8] + TARGETS + ["newcomer"]}

    def check(self, what, good, found):
        with self.lock:
            self.checks += 1
            if not good:
                self.failed += 1
                print(f"FAILED  {what}: {found}", flush=True)

    def compare(self, what, wanted, found, answer):
        shown = json.dumps(answer, ensure_ascii=False)[:300]
        self.check(what, wanted == found, f"expected {wanted}, got {found}: {shown}")


def read_table():
    parts, part = {"rooms": {}, "users": {}}, None
    with open(os.path.join(HERE, "expectations.txt"), encoding="utf-8") as file:
        for line in map(str.strip, file):
            if line.startswith("["):
                part = parts[line.strip("[]")]
            elif line and not line.startswith("#"):
                row, *columns = line.split()
                if row in part:
                    raise SystemExit(f"two rows are named {row}")
                part[row] = columns
    for part, lengths in [("rooms", [len(callers) for callers in STATES.values()]), ("users", [1, 1, 1])]:
        for row, columns in parts[part].items():
            fits = len(columns) == len(lengths) and all(
                column == "-" or len(column) == length for column, length in zip(columns, lengths)
            )
            if not fits:
                raise SystemExit(f"the row {row} has columns of a wrong length")
    return parts["rooms"], parts["users"]


def read_methods():
    """Names, and the schema of the params: from the descriptions that `scripts/check generated` keeps true."""
    with open(os.path.join(ROOT, "web/client/src/protocol.ts"), encoding="utf-8") as file:
        interface = file.read().split("export interface Methods {", 1)[1].split("\n}", 1)[0]
    with open(os.path.join(ROOT, "docs/protocol/protocol.schema.json"), encoding="utf-8") as file:
        types = json.load(file)["$defs"]
    names = re.findall(r'"([a-z_.]+)": \{ params: (\w+);', interface)
    return {name: types[params] for name, params in names}, types


def run_room_row(run, api, cast, row, columns, seeded):
    for (state, callers), column in zip(STATES.items(), columns):
        if column == "-":
            continue
        kinds = {"group": ["group"], "channel": ["channel"], "deleted": ["group", "channel"]}.get(state, ["direct"])
        for kind in kinds:
            room = None
            for caller, wanted in zip(callers, column):
                if wanted == "-":
                    continue
                if room is None:
                    who = cast if kind != "direct" else {"maker": run.user(), "other": run.user(), "stranger": cast["stranger"]}
                    room = Room(api, state, kind, who)
                token = None if caller == "none" else room.who[callers[0]].forged() if caller == "forged" else room.who[caller].token
                found, answer = call_in_room(api, row, room, caller, token, seeded)
                run.compare(f"{row} by {caller}, {state} {kind}", wanted, found, answer)
                if found == "+" and not READS.match(row):
                    room = None


# ---- Calls without a room.


def register(api):
    name = "az" + uuid.uuid4().hex[:20]
    answer = api.call(None, "auth.register", {"username": name, "password": PASSWORD})
    if "result" not in answer:
        raise RuntimeError(f"a registration failed: {answer}")
    result = answer["result"]
    return User(result["user"]["id"], name, result["access_token"], result["refresh_token"])


def user_params(run, api, row, registered):
    """Who calls, and with what."""
    user, other, op = run.user(), run.user(), uuid7()
    wrong, code = "wrong horse battery", "000000"
    unknown = str(uuid.uuid4())
    if row.startswith(("auth.change", "auth.set_", "auth.confirm", "auth.delete", "totp.")):
        user = registered.pop() if row.endswith(("/right", "/none")) else registered[0]
    password = PASSWORD if row.endswith("/right") else wrong
    if row in ("totp.confirm/wrong", "totp.disable/wrong"):
        api.must(user, "totp.enroll", {"password": PASSWORD})
    if row.startswith("auth.revoke_login/"):
        whose = {"own": user, "other": other}.get(row.split("/")[1])
        login = api.must(whose, "auth.logins", {})["logins"][0]["id"] if whose else unknown
        return user, {"login": login}
    if row == "user.search/blocked":
        api.must(user, "block.add", {"op": uuid7(), "user": other.id})
    if row in ("user.search/blocking", "room.create/with_blocking", "room.create/direct_blocking"):
        api.must(other, "block.add", {"op": uuid7(), "user": user.id})
    if row in ("room.create/with_blocked", "room.create/direct_blocked"):
        api.must(user, "block.add", {"op": uuid7(), "user": other.id})
    room = uuid7()
    make = {"op": op, "id": room, "kind": "group", "name": "Room", "members": [other.id]}
    direct = {"op": op, "id": direct_room(user.id, other.id), "kind": "direct", "name": "", "members": [other.id]}
    return user, {
        "auth.register": {"username": "az" + uuid.uuid4().hex[:20], "password": PASSWORD},
        "auth.login/right": {"username": registered[0].name, "password": PASSWORD},
        "auth.login/wrong": {"username": registered[0].name, "password": wrong},
        "auth.login/unknown": {"username": "nobody" + uuid.uuid4().hex[:12], "password": wrong},
        "auth.refresh/right": {"refresh_token": user.refresh},
        "auth.refresh/wrong": {"refresh_token": "hubr." + "A" * 60},
        "auth.request_reset/known": {"username": registered[0].name},
        "auth.request_reset/unknown": {"username": "nobody" + uuid.uuid4().hex[:12]},
        "auth.reset_password/wrong": {"challenge": unknown, "code": "00000000", "password": PASSWORD},
        "auth.logout": {},
        "auth.logins": {},
        "auth.change_password/wrong": {"password": wrong, "new_password": "another horse battery"},
        "auth.change_password/right": {"password": PASSWORD, "new_password": "another horse battery"},
        "auth.set_email/wrong": {"password": wrong, "email": "somebody@example.org"},
        "auth.set_email/right": {"password": PASSWORD, "email": "somebody@example.org"},
        "auth.confirm_email/wrong": {"challenge": unknown, "code": "00000000"},
        "auth.delete_account/wrong": {"password": wrong},
        "auth.delete_account/right": {"password": PASSWORD},
        "totp.enroll/wrong": {"password": password},
        "totp.enroll/right": {"password": password},
        "totp.confirm/wrong": {"code": code},
        "totp.confirm/none": {"code": code},
        "totp.disable/wrong": {"password": wrong, "code": code},
        "session.open": {"token": user.token},
        "session.refresh": {"token": user.token},
        "session.look": {"rooms": []},
        "user.get": {"users": [other.id]},
        "user.get/unknown": {"users": [unknown]},
        "user.search/found": {"query": other.name},
        "user.search/blocked": {"query": other.name},
        "user.search/blocking": {"query": other.name},
        "user.update": {"op": op, "display_name": "Somebody"},
        "contact.set": {"op": op, "user": other.id, "alias": "friend"},
        "contact.set/self": {"op": op, "user": user.id},
        "contact.set/unknown": {"op": op, "user": unknown},
        "contact.remove": {"op": op, "user": other.id},
        "block.add": {"op": op, "user": other.id},
        "block.add/self": {"op": op, "user": user.id},
        "block.add/unknown": {"op": op, "user": unknown},
        "block.remove": {"op": op, "user": other.id},
        "presence.watch": {"users": [other.id]},
        "presence.set": {"state": "away"},
        "search": {"query": WORD},
        "search/nothing": {"query": WORD},
        "push.subscribe": {
            "op": op,
            "endpoint": "https://push.example.org/somebody",
            # The public point of the curve's generator: a key that is well formed.
            "p256dh": "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
            "auth": base64.urlsafe_b64encode(bytes(16)).decode().rstrip("="),
        },
        "push.unsubscribe": {"op": op, "id": unknown},
        "room.create/with_blocked": make,
        "room.create/with_blocking": make,
        "room.create/direct": direct,
        "room.create/direct_blocked": direct,
        "room.create/direct_blocking": direct,
        "room.create/unknown_user": make | {"members": [unknown]},
    }.get(row, {})


def run_user_row(run, api, row, columns, registered):
    user, params = user_params(run, api, row, registered)
    method = row.split("/")[0]
    room = params.get("id") if method == "room.create" else None
    # Without a right first: the call itself may end the login.
    for caller, wanted in reversed(list(zip(USER_CALLERS, columns))):
        if wanted == "-":
            continue
        token = {"token": user.token, "none": None, "forged": user.forged()}[caller]
        answer = api.call(token, method, params, room)
        found = outcome(answer)
        result = answer.get("result", {})
        if found == "+" and method in ("user.get", "user.search", "search"):
            shown = result.get("users", result.get("messages"))
            if method == "user.search" and "query" in params:
                shown = [user for user in shown if user["username"] == params["query"]]
            found = "+" if shown or row == "search" else "e"
        run.compare(f"{row} by {caller}", wanted, found, answer)


# ---- Malformed calls: each is `bad_request` for who might make the call if it were well formed.


def wrong_value(schema, types):
    """A value that no reader of this member takes."""
    if "$ref" in schema:
        return wrong_value(types[schema["$ref"].rsplit("/", 1)[1]], types)
    kinds = json.dumps(schema)
    return 7.5 if '"string"' in kinds or '"enum"' in kinds or '"object"' in kinds else "seven"


def run_malformed(run, api, caller, method, schema, types, is_of_room, good):
    def refused(what, params, room, wanted="b"):
        answer = api.call(caller().token, method, params, room)
        run.compare(f"{method}: {what}", wanted, outcome(answer), answer)

    params, room = good
    refused("an unknown member", params | {"surprise": 1}, room)
    refused("params that are a list", [params], room)
    refused("params that are a text", "params", room)
    for name in schema.get("required", []):
        refused(f"no {name}", {key: value for key, value in params.items() if key != name}, room)
    for name, member in schema.get("properties", {}).items():
        refused(f"{name} of another type", params | {name: wrong_value(member, types)}, room)
        if '"uuid"' in json.dumps(member) or "Op" in json.dumps(member) or "UserId" in json.dumps(member):
            refused(f"{name} that is no id", params | {name: "no-id"}, room)
    if is_of_room:
        refused("no room", params, None)
        refused("a room that is no id", params, "no-id")
        refused("another room", params, uuid7(), "b" if method == "room.create" else "n")
    else:
        refused("a room", params, uuid7())


# ---- Nothing after the removal.


def removed_hears_nothing(run, cast, kind, how):
    from websockets.sync.client import connect

    api = Api()
    room = Room(api, kind, kind, cast)

    class Ear:
        def __init__(self, user):
            # Closed at the end of the part.
            self.door = connect(WS, subprotocols=["socket-hub.v1"], max_size=2**20, ping_interval=None)
            self.socket = self.door.__enter__()
            self.events, self.answers = [], {}
            self.calls = 0
            self.call("session.open", {"token": user.token})

        def call(self, method, params, room=None):
            self.calls += 1
            number = self.calls
            self.socket.send(json.dumps({"id": number, "method": method, "params": params} | ({"room": room} if room else {})))
            self.listen(WAIT, lambda: number in self.answers)
            return self.answers.get(number, {"error": {"code": "no answer"}})

        def listen(self, seconds, done):
            until = time.monotonic() + seconds
            while not done() and time.monotonic() < until:
                try:
                    message = json.loads(self.socket.recv(timeout=max(0.001, until - time.monotonic())))
                except TimeoutError:
                    return
                if "event" in message:
                    self.events.append(message)
                else:
                    self.answers[message.get("id")] = message

        def of(self, room):
            return [event for event in self.events if event.get("room") == room]

    victim, witness = Ear(cast["member"]), Ear(cast["admin"])
    what = f"{how} from a {kind}"
    # A session that has just opened may miss what is sent in its first second.
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        room.say("owner")
        for ear in (victim, witness):
            ear.listen(1, lambda: any(event.get("seq") == room.written["owner"] for event in ear.of(room.id)))
        if all(any(event.get("seq") == room.written["owner"] for event in ear.of(room.id)) for ear in (victim, witness)):
            break
    heard = [event.get("seq") for event in victim.of(room.id)]
    run.check(f"{what}: hears the room before", room.written["owner"] in heard, heard)
    if how == "room.leave":
        last = room.op("member", how)["seq"]
    elif how == "room.delete":
        last = room.op("owner", how)["seq"]
    else:
        last = room.op("owner", how, user=cast["member"].id)["seq"]
    sent = []
    for number in range(50):
        params = {"client_message_id": uuid7(), "text": f"after the end {number}"}
        answer = api.call(cast["owner"].token, "message.send", params, room.id)
        if how == "room.delete":
            run.compare(f"{what}: message {number} after it", "n", outcome(answer), answer)
        else:
            sent.append(answer["result"]["seq"])
        if number % 10 == 0:
            api.call(cast["owner"].token, "typing.set", {"typing": True}, room.id)
            api.call(cast["owner"].token, "receipt.read", {"seq": last}, room.id)
    witness.listen(WAIT if sent else 1, lambda: sent and set(sent) <= {event.get("seq") for event in witness.of(room.id)})
    got = {event.get("seq") for event in witness.of(room.id)}
    run.check(f"{what}: who stayed hears all", last in got and set(sent) <= got, sorted(set(sent) - got))
    # What was sent after the removal would have come by now; a moment for what came late.
    victim.listen(1.5, lambda: False)
    after = [event for event in victim.of(room.id) if (event.get("seq") or 0) > last or "after the end" in json.dumps(event)]
    # Ephemeral events have no seq: those of after the removal stand behind its event.
    names = [(event["event"], event.get("seq")) for event in victim.of(room.id)]
    ends = [at for at, (_, seq) in enumerate(names) if seq == last]
    run.check(f"{what}: is told its end", len(ends) >= 1, names)
    for number in range(50):
        text = f"after the end {number}"
        leaked = [event for event in after if event.get("data", {}).get("text") == text]
        run.check(f"{what}: does not hear message {number} after it", not leaked, leaked)
    run.check(f"{what}: hears nothing after it", not after, after[:3])
    run.check(f"{what}: nothing stands behind its last event", not ends or ends[-1] == len(names) - 1, names)
    answer = victim.call("message.history", {"limit": 200}, room.id)
    run.check(f"{what}: then reads nothing that came after it", "after the end" not in json.dumps(answer), answer)
    for method, params in [
        ("message.send", {"client_message_id": uuid7(), "text": "hello"}),
        ("message.edit", {"op": uuid7(), "seq": room.written["member"], "text": "hello"}),
        ("message.delete", {"op": uuid7(), "seq": room.written["member"], "for": "all"}),
        ("message.react", {"op": uuid7(), "seq": room.written["owner"], "emoji": "👍"}),
        ("member.list", {}),
        ("receipt.read", {"seq": last}),
        ("receipt.list", {}),
        ("typing.set", {"typing": True}),
    ]:
        answer = victim.call(method, params, room.id)
        run.compare(f"{what}: then {method} over the session", "n", outcome(answer), answer)
    for ear in (victim, witness):
        ear.door.__exit__(None, None, None)


def http_only(run, user, methods):
    """What carries a password never crosses a session."""
    from websockets.sync.client import connect

    names = re.search(r"HTTP_ONLY = \[(.*?)\]", methods, re.S).group(1)
    with connect(WS, subprotocols=["socket-hub.v1"], ping_interval=None) as socket:

        def call(number, method, params):
            socket.send(json.dumps({"id": number, "method": method, "params": params}))
            while True:
                answer = json.loads(socket.recv(timeout=WAIT))
                if answer.get("id") == number:
                    return answer

        # Before the session nothing is answered.
        for number, method in enumerate(["user.me", "sync", "room.list", "session.look", "session.refresh"]):
            answer = call(100 + number, method, {"token": user.token} if method == "session.refresh" else {})
            run.compare(f"{method} before session.open", "u", outcome(answer), answer)
        answer = call(1, "session.open", {"token": user.token})
        run.compare("session.open over the WebSocket", "+", outcome(answer), answer)
        answer = call(2, "session.open", {"token": user.token})
        run.compare("session.open twice", "c", outcome(answer), answer)
        for method, params in [("session.refresh", {"token": user.token}), ("session.look", {"rooms": []}), ("presence.set", {"state": "away"})]:
            answer = call(3, method, params)
            run.compare(f"{method} over the WebSocket", "+", outcome(answer), answer)
        for number, method in enumerate(re.findall(r'"([a-z_.]+)"', names)):
            answer = call(10 + number, method, {})
            run.compare(f"{method} over the WebSocket", "b", outcome(answer), answer)
        for number, method in enumerate(["presence.session", "room.attach", "room.large", "room.steal"]):
            answer = call(200 + number, method, {})
            run.compare(f"{method}, which no client may name", "b", outcome(answer), answer)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    users = [User(line["user"], line["username"], line["token"], line["refresh_token"]) for line in lines if line["type"] == "user"]
    run = Run(users)
    room_rows, user_rows = read_table()
    methods, types = read_methods()
    rowed = {row.split("/")[0] for row in [*room_rows, *user_rows]}
    for method in methods:
        run.check(f"{method} has a row", method in rowed, "there is none")
    for method in rowed - set(methods):
        run.check(f"{method} is a method", False, "the descriptions of the protocol do not have it")

    local = threading.local()

    def mine():
        if not hasattr(local, "api"):
            local.api, local.cast = Api(), run.cast()
        return local.api, local.cast

    api = Api()
    # A message of a room where none of the callers is.
    hidden = Room(api, "group", "group", run.cast())
    seeded = {"room": hidden.id, "seq": hidden.written["owner"]}
    registered = [register(api) for _ in range(1 + sum(row.endswith(("/right", "/none")) for row in user_rows))]

    def room_row(row):
        run_room_row(run, *mine(), row, room_rows[row], seeded)

    def malformed(method):
        api, cast = mine()
        row = next(row for row in [*room_rows, *user_rows] if row.split("/")[0] == method and row != "room.create/new")
        if row not in room_rows:
            # A copy: these accounts are still needed.
            good, is_of_room = (user_params(run, api, row, registered[:1] * 2)[1], None), False
        elif method in ("presence.watch", "room.list", "sync", "search"):
            good, is_of_room = ({"presence.watch": {"users": []}, "search": {"query": WORD}}.get(method, {}), None), False
        else:
            room = Room(api, "group", "group", cast)
            good, is_of_room = (room_calls(room, "owner", seeded)[row], room.id), True
        # A call without a room may end the login after all: each has a caller of its own.
        caller = (lambda: cast["owner"]) if is_of_room else run.user
        run_malformed(run, api, caller, method, methods[method], types, is_of_room, good)

    def accounts(_):
        # One after the other: tries of one account are counted.
        for row, columns in user_rows.items():
            try:
                run_user_row(run, api, row, columns, registered)
            except Exception as error:
                run.check(f"{row} comes to its end", False, repr(error))

    def silence(how):
        for kind in ["group", "channel"]:
            removed_hears_nothing(run, run.cast(), kind, how)

    def over_session(_):
        with open(os.path.join(ROOT, "web/client/src/protocol.ts"), encoding="utf-8") as file:
            http_only(run, run.user(), file.read())

    jobs = [(silence, how) for how in ["member.remove", "member.ban", "room.leave", "room.delete"]]
    jobs += [(accounts, "accounts"), (over_session, "methods over a session")]
    jobs += [(room_row, row) for row in room_rows] + [(malformed, method) for method in methods if method in rowed]
    only = os.environ.get("AUTHZ_ONLY")

    def guarded(job):
        work, name = job
        try:
            if not only or re.search(only, name):
                work(name)
        except Exception:
            run.check(f"{name} comes to its end", False, traceback.format_exc().strip().replace("\n", " | ")[-600:])

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(guarded, jobs))
    print(f"checks={run.checks}")
    print(f"{run.checks - run.failed} passed, {run.failed} failed")
    sys.exit(run.failed > 0)


main()
