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
const FOR_GOOD = new Set(["unauthenticated", "forbidden", "invalid"]); // whoever is refused so need not come again as such

/** The server refused (`code` is one of the protocol's), could not be reached in time (`offline`) or did not answer in
 *  time (`timeout`). */
export class ChatError extends Error {
  constructor({ code, message, retry_after_ms }) {
    super(message);
    this.code = code;
    this.retryAfter = retry_after_ms;
  }
}

const offline = () => new ChatError({ code: "offline", message: "The server cannot be reached." });
const late = () => new ChatError({ code: "timeout", message: "The server does not answer." });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export class ChatClient {
  #socket;
  #key;
  #timeout;
  #refusal;
  #ready = false;
  #listeners = new Set(); // {name, listener}

  /** Without a `token` the server makes a new user. `timeout`: ms that a request waits, lost lines included. What `auth`
   *  returns goes with each new connection, over token and key: `resume`, say. */
  constructor(address, { token, key, timeout = 60_000, auth = () => ({}) } = {}) {
    this.token = token;
    this.#key = key;
    this.#timeout = timeout;
    this.#socket = io(address, {
      transports: ["websocket"],
      reconnectionDelay: 200,
      reconnectionDelayMax: 2_000,
      autoConnect: false,
      forceNew: true,
      auth: (give) => give({ protocol: 1, token: this.token, key: this.#key, ...auth() }),
    });
    this.#listen();
  }

  async connect() {
    this.reconnect();
    await this.#connected(Date.now() + this.#timeout);
  }

  /** Makes the connection anew, after a refusal too. */
  reconnect() {
    this.#refusal = undefined;
    this.#socket.disconnect().connect();
  }

  get isConnected() {
    return this.#ready;
  }

  close() {
    this.#socket.disconnect();
  }

  async create({ title, learn } = {}) {
    return (await this.request("conversation.create", { title, learn })).conversation_id;
  }

  async conversations() {
    const found = [];
    for (let after; after !== null; ) {
      const { conversations, next } = await this.request("conversation.list", { after });
      found.push(...conversations);
      after = next;
    }
    return found;
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

  /** [{conversation_id, excerpt}] of those in which the words were said. */
  async search(text) {
    return (await this.request("conversation.search", { text })).found;
  }

  stop(conversation_id, reply_id) {
    return this.request("reply.stop", { conversation_id, reply_id });
  }

  /** Goes on from this reply: its branch is the active one. */
  choose(conversation_id, reply_id) {
    return this.request("reply.choose", { conversation_id, reply_id });
  }

  /** `rating` -1, 0 or 1; 0 without a better text takes it back. */
  setFeedback(conversation_id, reply_id, rating, better_text = null) {
    return this.request("feedback.set", { conversation_id, reply_id, rating, better_text });
  }

  /** What a reply was chosen among, best first, and how far its turn moved the state: {candidates, moved}. */
  explain(conversation_id, reply_id) {
    return this.request("reply.explain", { conversation_id, reply_id });
  }

  /** The dialogue states after the last 200 turns of the active branch, as {points, map} in two dimensions. */
  path(conversation_id) {
    return this.request("conversation.path", { conversation_id });
  }

  /** Decodes a reply's turn anew, in four ways and by the checkpoint before, if there is one: {variants, tree}. */
  compare(conversation_id, reply_id) {
    return this.request("reply.compare", { conversation_id, reply_id });
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

  /** Says something and waits for the whole reply: {reply_id, text, status, checkpoint, retrieved, guarded}. */
  async send(conversation_id, text, client_msg_id) {
    return (await this.stream(conversation_id, text, client_msg_id)).wait();
  }

  /** Says something; it is stored once this has resolved. The same `client_msg_id` again says nothing twice. */
  async stream(conversation_id, text, client_msg_id = newId()) {
    const { reply_id, seq } = await this.request("message.send", { conversation_id, client_msg_id, text });
    return this.resume(conversation_id, reply_id, seq);
  }

  /** Says something else instead of an earlier message, in a branch of its own. */
  async edit(conversation_id, message_id, text, client_msg_id = newId()) {
    const edit = { conversation_id, message_id, client_msg_id, text };
    const { reply_id, seq } = await this.request("message.edit", edit);
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
  async request(name, payload = {}, timeout = this.#timeout) {
    for (const deadline = Date.now() + timeout; ; ) {
      await this.#connected(deadline);
      const answer = await this.#acknowledged(name, payload, deadline);
      if (answer?.ok) return answer;
      if (!answer && NOT_TWICE.has(name)) throw offline();
      if (answer) await waitOrThrow(new ChatError(answer.error), deadline);
      else if (Date.now() > deadline) throw late();
    }
  }

  /** Calls `listener` with what each "ready", "event", "reply.delta" and "notice" carries, and at each "lost" line with the
   *  ChatError, if the server has refused. Returns how to end that. */
  on(name, listener) {
    const entry = { name, listener };
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  /** Tells `tell` of what happens in a conversation (null: it may have missed something); returns how to end that. */
  follow(conversation, tell) {
    const ofIt = (news) => news.conversation_id === conversation && tell(news);
    const ends = [this.on("event", ofIt), this.on("reply.delta", ofIt), this.on("ready", () => tell(null))];
    return () => ends.forEach((end) => end());
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
    for (const name of ["event", "reply.delta", "notice"]) this.#socket.on(name, (news) => this.#tell(name, news));
    this.#socket.on("ready", (ready) => {
      this.token = ready.token ?? this.token;
      this.#ready = true;
      this.#tell("ready", ready);
    });
    this.#socket.on("disconnect", (reason) => this.#lost(reason));
    this.#socket.on("connect_error", (error) => this.#refused(error.data));
  }

  #lost(reason) {
    this.#ready = false;
    if (reason === "io server disconnect") this.#later(); // sent away: it is told why when it comes again
    this.#tell("lost");
  }

  #refused(data) {
    const refusal = data?.code ? new ChatError(data) : undefined; // else not reached: tried again by the socket itself
    if (FOR_GOOD.has(data?.code)) this.#refusal = refusal;
    else if (refusal) this.#later(refusal.retryAfter);
    this.#tell("lost", refusal);
  }

  #later(wait = 1_000) {
    setTimeout(() => this.#socket.connect(), wait);
  }

  #tell(name, news) {
    for (const entry of [...this.#listeners]) if (entry.name === name) entry.listener(news);
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
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}
