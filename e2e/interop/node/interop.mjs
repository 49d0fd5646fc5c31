// The protocol as the npm package `ws` speaks it.

import { randomBytes } from "node:crypto";
import WebSocket from "ws";

const { HUB_HTTP_URL, HUB_WS_URL } = process.env;
const WAIT_MS = 30_000;
let passed = 0;
let failed = 0;

function check(what, good, found) {
  if (good) passed += 1;
  else failed += 1;
  console.log(good ? `ok      ${what}` : `FAILED  ${what}: ${JSON.stringify(found)}`);
}

// RFC 9562 §5.7.
function uuid7() {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

async function rpc(method, params) {
  const response = await fetch(`${HUB_HTTP_URL}/v1/rpc`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ id: 1, method, params }),
    signal: AbortSignal.timeout(WAIT_MS),
  });
  return response.json();
}

class Client {
  constructor(url) {
    this.socket = new WebSocket(url, "socket-hub.v1", { perMessageDeflate: false });
    this.calls = 0;
    this.inbox = [];
    this.waiting = new Set();
    this.socket.on("message", (data) => {
      this.inbox.push(JSON.parse(data.toString()));
      for (const look of [...this.waiting]) look();
    });
    this.closed = new Promise((resolve) => this.socket.on("close", resolve));
    this.opened = new Promise((resolve, reject) => {
      this.socket.on("open", resolve);
      this.socket.on("error", reject);
    });
  }

  // The first message that is wanted, now or later; others stay in their order.
  take(wanted) {
    return new Promise((resolve, reject) => {
      const look = () => {
        const at = this.inbox.findIndex(wanted);
        if (at < 0) return;
        clearTimeout(timer);
        this.waiting.delete(look);
        resolve(this.inbox.splice(at, 1)[0]);
      };
      const timer = setTimeout(() => {
        this.waiting.delete(look);
        reject(new Error("no such message in time"));
      }, WAIT_MS);
      this.waiting.add(look);
      look();
    });
  }

  call(method, params, room, pieces = 1) {
    this.calls += 1;
    const id = this.calls;
    const bytes = Buffer.from(JSON.stringify({ id, method, room, params }));
    const size = Math.max(1, Math.ceil(bytes.length / pieces));
    for (let at = 0; at < bytes.length; at += size) {
      // Fragments are cut between bytes: a letter may lie in two of them.
      this.socket.send(bytes.subarray(at, at + size), { binary: false, fin: at + size >= bytes.length });
    }
    return this.take((message) => message.id === id);
  }
}

async function run() {
  const credentials = { username: `js${randomBytes(10).toString("hex")}`, password: "correct horse battery" };
  const registered = await rpc("auth.register", credentials);
  check("registers over HTTP", registered.result, registered);
  const login = await rpc("auth.login", credentials);
  check("logs in over HTTP", login.result, login);

  const client = new Client(HUB_WS_URL);
  await client.opened;
  check("agrees on the subprotocol", client.socket.protocol === "socket-hub.v1", client.socket.protocol);
  const opened = await client.call("session.open", { token: login.result.access_token });
  check("opens a session", opened.result?.user === registered.result.user.id, opened);

  const room = uuid7();
  const params = { op: uuid7(), id: room, kind: "group", name: "Interop", members: [] };
  const made = await client.call("room.create", params, room);
  check("makes a room", made.result?.seq === 1, made);

  const send = async (what, text, pieces) => {
    const name = uuid7();
    const sent = await client.call("message.send", { client_message_id: name, text }, room, pieces);
    const event = await client.take((message) => message.data?.client_message_id === name);
    const same = JSON.stringify(event.data) === JSON.stringify(sent.result?.message) && event.data.text === text;
    check(what, same, sent);
  };
  await send("sends and receives its own event", "Grüße aus Node 👋");
  await send("sends in fragments", "zerlegt 👋 ".repeat(40), 7);
  await send("sends in fragments of one byte", "kurz ü 👋", 10_000);
  await send("sends a big message", "x".repeat(16_000));

  const history = await client.call("message.history", { after: 1 }, room);
  const texts = history.result?.events.map((event) => event.data.text);
  check("reads the history", texts?.length === 4 && texts[0] === "Grüße aus Node 👋", history);

  const pong = new Promise((resolve) => client.socket.once("pong", resolve));
  client.socket.ping("are you there");
  check("gets a pong with the same bytes", (await pong).toString() === "are you there");

  const refused = await client.call("message.send", { client_message_id: uuid7(), text: "" }, room);
  check("is refused with a code", refused.error?.code === "bad_request", refused);

  client.socket.close(1000, "done");
  check("closes in the orderly way", (await client.closed) === 1000);

  const binary = new Client(HUB_WS_URL);
  await binary.opened;
  binary.socket.send(Buffer.from("binary"), { binary: true });
  const code = await binary.closed;
  check("is closed for a binary message", code === 1003, code);
}

// Bound: whatever waits without a timer of its own.
const watchdog = setTimeout(() => {
  console.log("FAILED  comes to its end: nothing happened for too long");
  console.log(`${passed} passed, ${failed + 1} failed`);
  process.exit(1);
}, 4 * WAIT_MS);
try {
  await run();
} catch (error) {
  check("comes to its end", false, String(error));
}
clearTimeout(watchdog);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
