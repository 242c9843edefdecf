// The page's and the widget's use of the client: who one is in this browser, and what was missed. What arrives is
// dispatched as it is.
import { ChatClient, ChatError } from "./client.js";
import { isBehind } from "./conversation.js";
import { lasting } from "./storage.js";

const TOKEN = "chatbot.token";
const KEY = "chatbot.key";
const ANSWER_MS = 10_000;
const PAGE = 200; // events of one sync, the protocol's limit
const PAGES = 50; // asked for at once

export class Connection {
  #chat;
  #store;
  #address;
  #token; // the one of this connection
  #key; // the same
  #given; // a key just typed; this browser keeps it once it has let one in
  #catchingUp = new Set();

  constructor(store, address) {
    this.#store = store;
    this.#address = address;
    this.#chat = new ChatClient(address, { auth: () => this.#introduction() });
    this.#chat.on("ready", (ready) => this.#admitted(ready));
    this.#chat.on("event", (event) => store.dispatch("event", event));
    this.#chat.on("reply.delta", (delta) => store.dispatch("delta", delta));
    this.#chat.on("notice", (notice) => this.#noticed(notice));
    this.#chat.on("lost", (refusal) => this.#lost(refusal));
    addEventListener("storage", ({ key, newValue }) => key === KEY && newValue && this.#letIn());
    this.#chat.reconnect();
  }

  /** Sends one request; returns the acknowledgement or throws a ChatError. Nothing waits for a connection here. */
  async request(name, payload = {}, timeout = ANSWER_MS) {
    if (!this.#chat.isConnected) throw new ChatError({ code: "offline" });
    try {
      return await this.#chat.request(name, payload, timeout);
    } catch (error) {
      if (error.code === "unauthenticated") this.#chat.reconnect(); // to be refused, and start afresh
      throw error;
    }
  }

  /** One conversation, or all of this person's, as a file of chat JSONL. */
  async export(id) {
    const headers = { Authorization: `Bearer ${lasting.getItem(TOKEN)}` };
    const path = id ? `/api/conversations/${id}/export` : "/api/export";
    const answer = await fetch(this.#address + path, { headers }).catch(() => null);
    if (!answer) throw new ChatError({ code: "offline" });
    if (!answer.ok) throw new ChatError((await answer.json()).error);
    return answer.blob();
  }

  /** Fetches what a conversation lacks until it is up to date. */
  async catchUp(id) {
    if (this.#catchingUp.has(id)) return;
    this.#catchingUp.add(id);
    try {
      for (let log; (log = this.#store.state.logs.get(id)) && isBehind(log); ) {
        this.#store.dispatch("synced", { conversation_id: id, ...(await this.#missed(id, log.seq)) });
      }
    } finally {
      this.#catchingUp.delete(id);
    }
  }

  /** Whether the server is there but does not answer to pages of this site. A browser says of either only that it failed; but
   *  this very file may be read by all. */
  async isRefused() {
    const isRead = (url) => fetch(url, { cache: "no-store" }).then(() => true, () => false);
    return (await isRead(import.meta.url)) && !(await isRead(`${this.#address}/readyz`));
  }

  close() {
    this.#chat.close();
  }

  /** Asks as with a new key. */
  unlock(key) {
    this.#given = key;
    this.#letIn();
  }

  /** Events are numbered without a gap, so several pages can be asked for at once: the more, the longer it goes on. */
  async #missed(conversation_id, after) {
    const pages = [];
    do {
      const asked = Array.from({ length: Math.min(1 + pages.length, PAGES) }, (_, place) =>
        this.request("sync", { conversation_id, after_seq: after + (pages.length + place) * PAGE, limit: PAGE }));
      pages.push(...(await Promise.all(asked)));
    } while (pages.at(-1).more);
    return { ...pages.at(-1), events: pages.flatMap(({ events }) => events) };
  }

  #introduction() {
    const known = [...this.#store.state.logs].filter(([, log]) => log.seq > 0).slice(-100); // the protocol's limit
    const resume = known.map(([id, log]) => ({ conversation_id: id, after_seq: log.seq }));
    this.#token = lasting.getItem(TOKEN) ?? undefined;
    this.#key = this.#given ?? lasting.getItem(KEY) ?? undefined;
    return { token: this.#token, key: this.#key, resume };
  }

  /** Of tabs that all came without a token, the first to be given one says who the others are. */
  #admitted(ready) {
    if (ready.token && lasting.getItem(TOKEN)) return this.#chat.reconnect();
    if (ready.token) lasting.setItem(TOKEN, (this.#token = ready.token));
    if (this.#given) lasting.setItem(KEY, this.#given);
    this.#given = undefined;
    this.#store.dispatch("ready", ready);
  }

  /** A person who is erased here is a new one from the next connection on, which the server leaves to us. */
  #noticed(notice) {
    if (notice.type === "user.deleted") this.#forgetToken();
    this.#store.dispatch("notice", notice);
  }

  #lost(refusal) {
    this.#store.dispatch("link", "lost");
    if (!refusal) return;
    if (refusal.code === "unauthenticated" && this.#token) return this.#startAfresh(refusal);
    if (refusal.code === "unauthenticated" || refusal.code === "forbidden") return this.#askForKey(refusal);
    this.#store.dispatch("alert", refusal);
  }

  #startAfresh(refusal) {
    this.#store.dispatch("alert", refusal);
    this.#forgetToken();
    this.#chat.reconnect();
  }

  /** Who has no token and no good key is asked for one; a key that was not good is forgotten. */
  #askForKey(refusal) {
    const stored = lasting.getItem(KEY) ?? undefined;
    this.#given = undefined;
    if (stored && stored !== this.#key) return this.#letIn(); // another tab was given it since
    lasting.removeItem(KEY);
    this.#store.dispatch("locked", this.#key ? refusal.message : "");
  }

  #letIn() {
    this.#store.dispatch("link", "connecting");
    this.#chat.reconnect();
  }

  #forgetToken() {
    if (lasting.getItem(TOKEN) === this.#token) lasting.removeItem(TOKEN); // or another tab has a new one
  }
}
