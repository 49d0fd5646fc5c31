"""The protocol as the Python package `websockets` speaks it."""

import asyncio
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid

import websockets
from websockets.asyncio.client import connect

HTTP = os.environ["HUB_HTTP_URL"]
WS = os.environ["HUB_WS_URL"]
WAIT = 30


def uuid7():
    value = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (7 << 76)
    return str(uuid.UUID(int=(value & ~(0x3 << 62)) | (0x2 << 62)))


def rpc(method, params):
    body = json.dumps({"id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(HTTP + "/v1/rpc", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=WAIT) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refusal:
        return json.load(refusal)


class Client:
    def __init__(self, socket):
        self.socket = socket
        self.calls = 0
        self.events = []

    async def receive(self):
        return json.loads(await asyncio.wait_for(self.socket.recv(), WAIT))

    async def call(self, method, params, room=None, pieces=None):
        self.calls += 1
        request = {"id": self.calls, "method": method, "params": params}
        if room:
            request["room"] = room
        text = json.dumps(request, ensure_ascii=False)
        if pieces:
            size = max(1, len(text) // pieces)
            # An iterable is sent as one message in fragments.
            await self.socket.send([text[at : at + size] for at in range(0, len(text), size)])
        else:
            await self.socket.send(text)
        while True:
            message = await self.receive()
            if message.get("id") == self.calls:
                return message
            self.events.append(message)

    async def event(self, wanted):
        while True:
            for at, event in enumerate(self.events):
                if wanted(event):
                    return self.events.pop(at)
            self.events.append(await self.receive())


async def run(check):
    username = "py" + uuid.uuid4().hex[:20]
    credentials = {"username": username, "password": "correct horse battery"}
    registered = rpc("auth.register", credentials)
    check("registers over HTTP", "result" in registered, registered)
    login = rpc("auth.login", credentials)
    check("logs in over HTTP", "result" in login, login)
    token = login["result"]["access_token"]

    async with connect(WS, subprotocols=["socket-hub.v1"], max_size=2**20, ping_interval=None) as socket:
        check("agrees on the subprotocol", socket.subprotocol == "socket-hub.v1", socket.subprotocol)
        client = Client(socket)
        opened = await client.call("session.open", {"token": token})
        check("opens a session", opened.get("result", {}).get("user") == registered["result"]["user"]["id"], opened)

        room = uuid7()
        made = await client.call(
            "room.create", {"op": uuid7(), "id": room, "kind": "group", "name": "Interop", "members": []}, room
        )
        check("makes a room", made.get("result", {}).get("seq") == 1, made)

        async def send(what, text, pieces=None):
            name = uuid7()
            sent = await client.call("message.send", {"client_message_id": name, "text": text}, room, pieces)
            event = await client.event(lambda event: event.get("data", {}).get("client_message_id") == name)
            same = sent.get("result", {}).get("message") == event["data"] and event["data"]["text"] == text
            check(what, same, sent)

        await send("sends and receives its own event", "Grüße aus Python 👋")
        await send("sends in fragments", "zerlegt 👋 " * 40, pieces=7)
        await send("sends in fragments of one letter", "kurz ü", pieces=10_000)
        await send("sends a big message", "x" * 16_000)

        history = await client.call("message.history", {"after": 1}, room)
        texts = [event["data"]["text"] for event in history["result"]["events"]]
        check("reads the history", len(texts) == 4 and texts[0] == "Grüße aus Python 👋", history)

        pong = await asyncio.wait_for(await socket.ping(b"are you there"), WAIT)
        check("gets a pong", pong >= 0, pong)

        refused = await client.call("message.send", {"client_message_id": uuid7(), "text": ""}, room)
        check("is refused with a code", refused.get("error", {}).get("code") == "bad_request", refused)

        await socket.close(1000, "done")
        check("closes in the orderly way", socket.close_code == 1000, socket.close_code)

    async with connect(WS, subprotocols=["socket-hub.v1"], ping_interval=None) as socket:
        await socket.send(b"binary")
        try:
            await asyncio.wait_for(socket.recv(), WAIT)
            check("is closed for a binary message", False, "a message")
        except websockets.ConnectionClosed as closed:
            check("is closed for a binary message", closed.rcvd and closed.rcvd.code == 1003, closed)


def main():
    passed = failed = 0

    def check(what, good, found):
        nonlocal passed, failed
        passed, failed = passed + bool(good), failed + (not good)
        print(f"{'ok     ' if good else 'FAILED '} {what}" + ("" if good else f": {found}"), flush=True)

    try:
        asyncio.run(run(check))
    except Exception as error:  # whatever it is, the run is no pass
        check("comes to its end", False, repr(error))
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
