// A client of the websocket API for pages and for Node. It makes a lost connection again by itself and sends what was not
// acknowledged again under the same client_msg_id: a message is neither lost nor said twice. Keep `token` to be the same
// user the next time.
//
//     const chat = new ChatClient("http://localhost:8000");
//     await chat.connect();
//     const conversation = await chat.create();
//     for await (const words of await chat.stream(conversation, "Hello")) console.log(words);
import { io } from "./vendor/socket.io-client/socket.io.esm.min.mjs";

const PAGE = 200; // events of one sync
const QUIET_MS = 2_000; // without a word of a reply, after which its state is asked for
const PAUSE_MS = 500; // where the server does not say how long
const NOT_TWICE = new Set(["conversation.create", "reply.regenerate"]); // a lost acknowledgement cannot be asked for again
const LATER = new Set(["draining", "overloaded", "rate_limited"]);

/** The server refused (`code` is one of the protocol's), or could not be reached in time (`offline`). */
export class ChatError extends Error {
  constructor({ code, message, retry_after_ms }) {
    super(message);
    this.code = code;
    this.retryAfter = retry_after_ms;
  }
}

const offline = () => new ChatError({ code: "offline", message: "The server cannot be reached." });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class ChatClient {
  #socket;
  #key;
  #timeout;
  #refusal;
  #ready = false;
  #followers = new Set(); // {conversation, tell}

  /** Without a `token` the server makes a new user. `timeout`: ms that a request waits, lost lines included. */
  constructor(address, { token, key, timeout = 60_000 } = {}) {
    this.token = token;
    this.#key = key;
    this.#timeout = timeout;
    this.#socket = io(address, {
      transports: ["websocket"],
      reconnectionDelay: 200,
      reconnectionDelayMax: 2_000,
      autoConnect: false,
      forceNew: true,
      auth: (give) => give({ protocol: 1, token: this.token, key: this.#key }),
    });
    this.#listen();
  }

  async connect() {
    this.#socket.connect();
    await this.#connected(Date.now() + this.#timeout);
  }

  close() {
    this.#socket.disconnect();
  }

  async create({ title, learn } = {}) {
    return (await this.request("conversation.create", { title, learn })).conversation_id;
  }

  async conversations() {
    return (await this.request("conversation.list")).conversations;
  }

  rename(conversation_id, title) {
    return this.request("conversation.rename", { conversation_id, title });
  }

  setLearning(conversation_id, learn) {
    return this.request("conversation.set_learning", { conversation_id, learn });
  }

  delete(conversation_id) {
    return this.request("conversation.delete", { conversation_id });
  }

  /** Erases all that is this user's, and the user. */
  deleteUser() {
    return this.request("user.delete");
  }

  stop(conversation_id, reply_id) {
    return this.request("reply.stop", { conversation_id, reply_id });
  }

  /** `rating` -1, 0 or 1; 0 without a better text takes it back. */
  setFeedback(conversation_id, reply_id, rating, better_text = null) {
    return this.request("feedback.set", { conversation_id, reply_id, rating, better_text });
  }

  /** Every durable event of the conversation after `after_seq`, in order. */
  async sync(conversation_id, after_seq = 0) {
    const events = [];
    for (let more = true; more; ) {
      const after = events.at(-1)?.seq ?? after_seq;
      const page = await this.request("sync", { conversation_id, after_seq: after, limit: PAGE });
      events.push(...page.events);
      more = page.more;
    }
    return events;
  }

  /** Says something and waits for the whole reply: {reply_id, text, status, checkpoint, retrieved}. */
  async send(conversation_id, text, client_msg_id) {
    return (await this.stream(conversation_id, text, client_msg_id)).wait();
  }

  /** Says something; it is stored once this has resolved. The same `client_msg_id` again says nothing twice. */
  async stream(conversation_id, text, client_msg_id = newId()) {
    const { reply_id, seq } = await this.request("message.send", { conversation_id, client_msg_id, text });
    return this.resume(conversation_id, reply_id, seq);
  }

  /** Another reply to the same message. */
  async regenerate(conversation_id, reply_id) {
    return this.resume(conversation_id, (await this.request("reply.regenerate", { conversation_id, reply_id })).reply_id);
  }

  /** A reply that was begun before, here or elsewhere: all of its words, and those to come. */
  resume(conversation_id, reply_id, after_seq = 0) {
    return new ReplyStream(this, conversation_id, reply_id, after_seq);
  }

  /** Sends an event of the protocol; resolves to its acknowledgement, again after a lost line or when told to wait. */
  async request(name, payload = {}) {
    for (const deadline = Date.now() + this.#timeout; ; ) {
      await this.#connected(deadline);
      const answer = await this.#acknowledged(name, payload, deadline);
      if (answer?.ok) return answer;
      if (!answer && NOT_TWICE.has(name)) throw offline();
      if (answer) await waitOrThrow(new ChatError(answer.error), deadline);
    }
  }

  /** Tells `tell` of what happens in a conversation (null: it may have missed something); returns how to end that. */
  follow(conversation, tell) {
    const follower = { conversation, tell };
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  async #connected(deadline) {
    while (!this.#ready) {
      if (this.#refusal) throw this.#refusal;
      if (Date.now() > deadline) throw offline();
      await pause(10);
    }
  }

  /** Undefined where the line was lost meanwhile. */
  #acknowledged(name, payload, deadline) {
    return new Promise((resolve) => {
      const done = (answer) => {
        this.#socket.off("disconnect", lost);
        resolve(answer);
      };
      const lost = () => done();
      this.#socket.once("disconnect", lost);
      this.#socket.timeout(Math.max(1, deadline - Date.now())).emit(name, payload, (error, answer) => done(error ? undefined : answer));
    });
  }

  #listen() {
    const tell = (news) => this.#tell(news.conversation_id, news);
    this.#socket.on("event", tell);
    this.#socket.on("reply.delta", tell);
    this.#socket.on("ready", ({ token }) => {
      this.token = token ?? this.token;
      this.#ready = true;
      for (const follower of this.#followers) follower.tell(null);
    });
    this.#socket.on("disconnect", () => (this.#ready = false));
    this.#socket.on("connect_error", (error) => this.#refused(error.data));
  }

  #refused(data) {
    if (!data?.code) return; // not reached: tried again by the socket itself
    if (LATER.has(data.code)) setTimeout(() => this.#socket.connect(), data.retry_after_ms ?? 1_000);
    else this.#refusal = new ChatError(data);
  }

  #tell(conversation, news) {
    for (const follower of this.#followers) if (follower.conversation === conversation) follower.tell(news);
  }
}

/** The words of a reply as they come; `reply` once all have. After a server's death its successor may find other words. */
class ReplyStream {
  #client;
  #conversation;
  #after;
  #given = "";
  #current = ""; // under the numbering that counts now: with index 0 again all words come anew
  #nextIndex = 0;

  constructor(client, conversation_id, reply_id, after_seq) {
    this.#client = client;
    this.#conversation = conversation_id;
    this.#after = after_seq;
    this.reply_id = reply_id;
    this.reply = null;
  }

  async wait() {
    for await (const _ of this);
    return this.reply;
  }

  async *[Symbol.asyncIterator]() {
    const coming = [null]; // asked for at first, after each new connection and after a silence
    let wake = () => {};
    const unfollow = this.#client.follow(this.#conversation, (news) => (coming.push(news), wake()));
    try {
      while (!this.reply) {
        if (!coming.length) await new Promise((resolve) => quietly((wake = resolve)));
        const words = await this.#wordsOf(coming.length ? coming.shift() : null);
        if (words) yield words;
      }
    } finally {
      unfollow();
    }
  }

  /** What is new in it. */
  async #wordsOf(news) {
    if (!news) return this.#caughtUp();
    if (news.type) return this.#ended([news]);
    if (news.reply_id !== this.reply_id) return "";
    if (news.index > this.#nextIndex) return this.#caughtUp();
    if (news.index > 0 && news.index < this.#nextIndex) return "";
    this.#nextIndex = news.index + 1;
    return this.#more(news.index ? this.#current + news.text : news.text);
  }

  async #caughtUp() {
    for (let after = this.#after; ; ) {
      const page = await this.#client.request("sync", { conversation_id: this.#conversation, after_seq: after, limit: PAGE });
      const words = this.#ended(page.events);
      if (this.reply) return words;
      if (!page.more) return this.#partial(page.partial.find(({ reply_id }) => reply_id === this.reply_id));
      after = page.events.at(-1).seq;
    }
  }

  #partial(partial) {
    if (!partial) return "";
    this.#nextIndex = partial.next_index;
    return this.#more(partial.text);
  }

  #ended(events) {
    const end = events.find(({ type, data }) => type === "reply.completed" && data.reply_id === this.reply_id);
    if (!end) return "";
    this.reply = end.data;
    return this.#more(end.data.text);
  }

  #more(text) {
    this.#current = text;
    if (!text.startsWith(this.#given)) return ""; // other words than were given; what was given is not taken back
    const words = text.slice(this.#given.length);
    this.#given = text;
    return words;
  }
}

const quietly = (wake) => setTimeout(wake, QUIET_MS);

async function waitOrThrow(refusal, deadline) {
  const wait = refusal.retryAfter ?? PAUSE_MS;
  if (!LATER.has(refusal.code) || Date.now() + wait > deadline) throw refusal;
  await pause(wait);
}

/** A random UUID. `crypto.randomUUID` exists on secure origins only, and a server at home is often plain http. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}
