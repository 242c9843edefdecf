// What the page and the widget have in common: the state, the one who changes it, and what follows from each change.
import { activePath, isBehind, replying } from "./conversation.js";
import { Connection } from "./connection.js";
import { Outbox } from "./outbox.js";
import { initial, reduce } from "./state.js";

const FRAME = 16; // ms; not an animation frame, since a tab in the background gets none and would fall behind
const AGAIN_MS = 2_000;

export class Chat {
  state = initial;
  #place;
  #drawing = 0;

  /** `place` is where one chats: draw() shows the state; followed(kind, payload) does what follows from a change there, and
   *  may be waited for; begun(id): a first message has opened a conversation; close(id): it is gone, returns whether it
   *  was the one that is open. */
  constructor(address, place) {
    this.#place = place;
    this.connection = new Connection(this, address);
    this.outbox = new Outbox(this, this.connection, (id) => this.state.open === null && place.begun(id));
  }

  dispatch(kind, payload) {
    this.state = reduce(this.state, kind, payload);
    this.#drawing ||= setTimeout(() => this.#draw(), FRAME);
    queueMicrotask(() => this.#follow(kind, payload));
  }

  async ask(name, payload) {
    try {
      return await this.connection.request(name, payload);
    } catch (error) {
      this.dispatch("alert", error);
    }
  }

  stop() {
    this.ask("reply.stop", { conversation_id: this.state.open, reply_id: this.path.at(-1).id });
  }

  regenerate(reply) {
    this.ask("reply.regenerate", { conversation_id: this.state.open, reply_id: reply.id });
  }

  /** The open conversation; undefined as long as it is not begun. */
  get log() {
    return this.state.logs.get(this.state.open);
  }

  get path() {
    return this.log ? activePath(this.log) : [];
  }

  /** The open branch, then what waits to be sent; what is said instead of an earlier message takes its place. */
  get turns() {
    const waiting = this.state.outbox.filter(({ conversation_id }) => conversation_id === this.state.open);
    if (!waiting.length) return this.path;
    const known = new Set(this.path.map((turn) => turn.client_msg_id));
    return waiting.reduce((turns, message) => (known.has(message.client_msg_id) ? turns : said(turns, message)), this.path);
  }

  get isReplying() {
    return this.state.link === "online" && Boolean(this.log) && replying(this.log);
  }

  #draw() {
    this.#drawing = 0;
    this.#place.draw();
  }

  async #follow(kind, payload) {
    await this.#place.followed(kind, payload);
    if (kind === "ready" || (kind === "event" && payload.type === "reply.completed")) this.outbox.send();
    if (kind === "notice" && payload.type === "user.deleted") this.outbox.clear();
    this.#keepUp();
  }

  #keepUp() {
    const { open, logs, link } = this.state;
    if (open && !logs.has(open)) this.#place.close(open);
    else if (open && link === "online" && isBehind(logs.get(open))) this.#catchUp(open);
  }

  async #catchUp(id) {
    try {
      await this.connection.catchUp(id);
    } catch (error) {
      if (error.code === "not_found" || error.code === "invalid") return this.#leave(id);
      if (error.code === "offline") return; // the next `ready` asks again
      this.dispatch("alert", error);
      setTimeout(() => this.#keepUp(), error.retryAfter ?? AGAIN_MS);
    }
  }

  #leave(id) {
    this.dispatch("notice", { type: "conversation.deleted", conversation: { conversation_id: id } });
    if (this.#place.close(id)) this.dispatch("alert", { code: "not_found" });
  }
}

function said(turns, message) {
  const place = turns.findIndex(({ id }) => id && id === message.edits);
  return [...(place < 0 ? turns : turns.slice(0, place)), message];
}
