// The socket: says who we are, keeps the connection, asks and waits for acknowledgements. What arrives is dispatched as it is.
import { io } from "./vendor/socket.io-client/socket.io.esm.min.mjs";
import { isBehind } from "./conversation.js";

const TOKEN = "chatbot.token";
const ACKNOWLEDGEMENT_MS = 10_000;
const REFUSED_MS = 3_000;

export class ProtocolError extends Error {
  constructor({ code, message, retry_after_ms }) {
    super(message);
    this.code = code;
    this.retryAfter = retry_after_ms;
  }
}

export class Connection {
  #socket;
  #store;
  #token; // the one of this connection
  #catchingUp = new Set();

  constructor(store) {
    this.#store = store;
    this.#socket = io({
      transports: ["websocket"],
      reconnectionDelay: 300,
      reconnectionDelayMax: 3_000,
      auth: (give) => give(this.#introduction()),
    });
    this.#listen();
  }

  /** Sends one request; returns the acknowledgement or throws a ProtocolError. Nothing is queued while offline. */
  async request(name, payload = {}) {
    if (!this.#socket.connected) throw new ProtocolError({ code: "offline" });
    const answer = await this.#acknowledged(name, payload);
    if (answer.ok) return answer;
    if (answer.error.code === "unauthenticated") this.#socket.disconnect().connect(); // to be refused, and start afresh
    throw new ProtocolError(answer.error);
  }

  /** All of this person's conversations, as a file of chat JSONL. */
  async export() {
    const headers = { Authorization: `Bearer ${localStorage.getItem(TOKEN)}` };
    const answer = await fetch("/api/export", { headers }).catch(() => null);
    if (!answer) throw new ProtocolError({ code: "offline" });
    if (!answer.ok) throw new ProtocolError((await answer.json()).error);
    return answer.blob();
  }

  /** Fetches what a conversation lacks, page by page, until it is up to date. */
  async catchUp(id) {
    if (this.#catchingUp.has(id)) return;
    this.#catchingUp.add(id);
    try {
      for (let log; (log = this.#store.state.logs.get(id)) && isBehind(log); ) {
        const request = { conversation_id: id, after_seq: log.seq, limit: 200 };
        this.#store.dispatch("synced", { conversation_id: id, ...(await this.request("sync", request)) });
      }
    } finally {
      this.#catchingUp.delete(id);
    }
  }

  #introduction() {
    const known = [...this.#store.state.logs].filter(([, log]) => log.seq > 0).slice(-100); // the protocol's limit
    const resume = known.map(([id, log]) => ({ conversation_id: id, after_seq: log.seq }));
    this.#token = localStorage.getItem(TOKEN) ?? undefined;
    return { token: this.#token, protocol: 1, resume };
  }

  async #acknowledged(name, payload) {
    try {
      return await this.#socket.timeout(ACKNOWLEDGEMENT_MS).emitWithAck(name, payload);
    } catch {
      throw new ProtocolError({ code: this.#socket.connected ? "timeout" : "offline" });
    }
  }

  #listen() {
    const dispatch = this.#store.dispatch;
    this.#socket.on("ready", (ready) => this.#admitted(ready));
    this.#socket.on("event", (event) => dispatch("event", event));
    this.#socket.on("reply.delta", (delta) => dispatch("delta", delta));
    this.#socket.on("notice", (notice) => this.#noticed(notice));
    this.#socket.on("disconnect", () => this.#lost());
    this.#socket.on("connect_error", (error) => this.#lost(error.data));
  }

  /** Of tabs that all came without a token, the first to be given one says who the others are. */
  #admitted(ready) {
    if (ready.token && localStorage.getItem(TOKEN)) return this.#socket.disconnect();
    if (ready.token) localStorage.setItem(TOKEN, (this.#token = ready.token));
    this.#store.dispatch("ready", ready);
  }

  /** A person who is erased here is a new one from the next connection on, which the server leaves to us. */
  #noticed(notice) {
    if (notice.type === "user.deleted") this.#forgetToken();
    this.#store.dispatch("notice", notice);
  }

  /** A dropped connection is retried by the client itself; a refused one (`active` is false) only by us. */
  #lost(refusal) {
    this.#store.dispatch("link", "lost");
    if (refusal?.code) this.#store.dispatch("alert", new ProtocolError(refusal));
    if (refusal?.code === "unauthenticated") return this.#startAfresh();
    if (!this.#socket.active) setTimeout(() => this.#socket.connect(), refusal?.retry_after_ms ?? REFUSED_MS);
  }

  #startAfresh() {
    this.#forgetToken();
    this.#socket.connect();
  }

  #forgetToken() {
    if (localStorage.getItem(TOKEN) === this.#token) localStorage.removeItem(TOKEN); // or another tab has a new one
  }
}
