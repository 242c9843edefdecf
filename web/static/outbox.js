// Messages that the server has not acknowledged yet. They live in localStorage, so that neither a lost connection nor a reload
// loses one, and each keeps its `client_msg_id`, so that sending it again can never say it twice.

import { newId } from "./client.js";
import { lasting } from "./storage.js";

const KEY = "chatbot.outbox";
const UNREMARKABLE = new Set(["offline", "busy"]); // the page shows both anyway
const FOR_LATER = new Set([...UNREMARKABLE, "timeout", "rate_limited", "overloaded", "draining"]);

export class Outbox {
  #store;
  #connection;
  #created;
  #sending = false;
  #timer;
  #opening = new Set(); // of what was written here before a conversation existed, the client_msg_ids

  /** `created(conversation_id)` is told when a first message has opened a conversation. */
  constructor(store, connection, created) {
    this.#store = store;
    this.#connection = connection;
    this.#created = created;
    addEventListener("storage", ({ key, newValue }) => key === KEY && this.#changedElsewhere(newValue));
    this.#show();
  }

  /** `learn` is the choice for the conversation that a first message opens; undefined leaves it to the server. `edits` is
   *  the id of the earlier message that this one is said instead of. */
  add(conversation_id, text, { learn, edits } = {}) {
    const client_msg_id = newId();
    if (!conversation_id) this.#opening.add(client_msg_id);
    this.#save([...stored(), { client_msg_id, conversation_id, text, learn, edits }]);
    this.send();
  }

  /** Makes `learn` the choice for the conversation that is not begun yet. */
  choose(learn) {
    this.#save(stored().map((message) => (message.conversation_id ? message : { ...message, learn })));
  }

  clear() {
    this.#save([]);
  }

  remove(client_msg_id) {
    this.#save(stored().filter((message) => message.client_msg_id !== client_msg_id));
  }

  retry(client_msg_id) {
    this.#change(client_msg_id, { refused: undefined });
    this.send();
  }

  /** Sends what waits, oldest first. Safe to call at any time: one tab at a time sends. */
  async send() {
    clearTimeout(this.#timer);
    if (this.#sending || this.#store.state.link !== "online") return;
    this.#sending = true;
    try {
      await oneTabAtATime(() => this.#sendAll());
    } finally {
      this.#sending = false;
    }
  }

  async #sendAll() {
    for (let message; (message = stored().find(({ refused }) => !refused)); ) {
      try {
        await this.#deliver(message);
      } catch (error) {
        if (FOR_LATER.has(error.code)) return this.#later(error);
        this.#change(message.client_msg_id, { refused: error.code ?? "internal", reason: error.message });
      }
    }
  }

  async #deliver({ client_msg_id, conversation_id, text, learn, edits }) {
    const id = conversation_id ?? (await this.#begin(learn));
    const message = { conversation_id: id, client_msg_id, text };
    if (edits) await this.#connection.request("message.edit", { ...message, message_id: edits });
    else await this.#connection.request("message.send", message);
    this.remove(client_msg_id);
    this.#store.dispatch("alert", null);
  }

  /** Everything written before a conversation existed belongs to the same new one. */
  async #begin(learn) {
    const { conversation_id } = await this.#connection.request("conversation.create", { learn });
    this.#save(stored().map((message) => ({ ...message, conversation_id: message.conversation_id ?? conversation_id })));
    this.#created(conversation_id);
    return conversation_id;
  }

  /** Another tab may send what was written here; the conversation that it begins is shown here as well. */
  #changedElsewhere(messages) {
    const begun = JSON.parse(messages ?? "[]").find(
      ({ client_msg_id, conversation_id }) => conversation_id && this.#opening.delete(client_msg_id));
    if (begun) this.#created(begun.conversation_id);
    this.#show();
  }

  #later(error) {
    if (!UNREMARKABLE.has(error.code)) this.#store.dispatch("alert", error);
    this.#timer = setTimeout(() => this.send(), error.retryAfter ?? 2_000);
  }

  #change(client_msg_id, change) {
    this.#save(stored().map((message) =>
      message.client_msg_id === client_msg_id ? { ...message, ...change } : message));
  }

  #save(messages) {
    lasting.setItem(KEY, JSON.stringify(messages));
    this.#show();
  }

  #show() {
    this.#store.dispatch("outbox", stored().map(asTurn));
  }
}

/** What the conversation shows of a message until the server has it. */
const asTurn = (message) => ({ ...message, role: "user", status: message.refused ? "refused" : "waiting" });

function stored() {
  return JSON.parse(lasting.getItem(KEY) ?? "[]");
}

/** Two tabs share the outbox. Browsers offer locks on secure origins only; elsewhere the server's idempotency has to do. */
const oneTabAtATime = (work) => (navigator.locks ? navigator.locks.request(KEY, work) : work());
