// Conversations that are to be deleted: hidden at once, erased on the server a little later, unless that is undone before.
// They wait in localStorage, so that every tab hides them and one that could not be told to the server is told later.

import { lasting } from "./storage.js";

const KEY = "chatbot.deleting"; // {conversation_id: when}
const UNDO_MS = 8_000;
const AGAIN_MS = 2_000;
const GONE = new Set(["not_found", "invalid"]);

export class Deletions {
  #store;
  #connection;
  #timer;
  #own = new Set(); // ids of those that were deleted here: whoever leaves does not undo these any more

  constructor(store, connection) {
    this.#store = store;
    this.#connection = connection;
    addEventListener("storage", ({ key }) => key === KEY && this.#show());
    addEventListener("pagehide", () => this.#eraseOwn());
    this.#show();
  }

  add(id) {
    this.#own.add(id);
    this.#save({ ...waiting(), [id]: Date.now() + UNDO_MS });
  }

  undo(id) {
    const { [id]: _, ...others } = waiting();
    this.#save(others);
  }

  clear() {
    this.#save({});
  }

  /** Erases those whose time has come; safe to call at any time. */
  async send() {
    clearTimeout(this.#timer);
    const due = Object.entries(waiting()).filter(([, when]) => when <= Date.now());
    if (this.#store.state.link === "online") await Promise.all(due.map(([id]) => this.#erase(id)));
    const next = Math.min(...Object.values(waiting()));
    if (next < Infinity) this.#timer = setTimeout(() => this.send(), Math.max(AGAIN_MS, next - Date.now()));
  }

  async #erase(conversation_id) {
    try {
      await this.#connection.request("conversation.delete", { conversation_id });
    } catch (error) {
      if (!GONE.has(error.code)) return;
    }
    this.undo(conversation_id);
  }

  #eraseOwn() {
    for (const conversation_id of Object.keys(waiting())) if (this.#own.has(conversation_id)) this.#erase(conversation_id);
  }

  #save(ids) {
    lasting.setItem(KEY, JSON.stringify(ids));
    this.#show();
  }

  #show() {
    this.#store.dispatch("deleting", Object.keys(waiting()));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.send(), 0);
  }
}

const waiting = () => JSON.parse(lasting.getItem(KEY) ?? "{}");
