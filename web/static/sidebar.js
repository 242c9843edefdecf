// The list of conversations: open, rename in place, delete after a question.
import { arrange, askFirst, element, iconButton } from "./elements.js";

export const titleOf = (conversation) => conversation?.title || "New conversation";

export class Sidebar {
  #list;
  #empty;
  #dialog;
  #actions;
  #items = new Map(); // conversation_id -> { node, update }

  constructor({ list, empty, dialog }, actions) {
    this.#list = list;
    this.#empty = empty;
    this.#dialog = dialog;
    this.#actions = actions;
  }

  show({ conversations, listed, open }) {
    this.#items = new Map(conversations.map((conversation) => [conversation.conversation_id, this.#item(conversation)]));
    conversations.forEach((conversation) =>
      this.#items.get(conversation.conversation_id).update(conversation, conversation.conversation_id === open));
    arrange(this.#list, [...this.#items.values()].map(({ node }) => node));
    this.#empty.hidden = !listed || conversations.length > 0;
  }

  #item({ conversation_id }) {
    return this.#items.get(conversation_id) ?? this.#newItem(conversation_id);
  }

  #newItem(id) {
    let shown;
    const link = element("a", { href: `#${id}`, dir: "auto" });
    const rename = iconButton("pencil", "Rename", () => this.#rename(node, shown));
    const remove = iconButton("bin", "Delete", () => this.#askToDelete(shown));
    const node = element("li", {}, link, rename, remove);
    const update = (conversation, isOpen) => {
      shown = conversation;
      const title = titleOf(conversation);
      if (link.textContent !== title) link.textContent = link.title = title;
      isOpen ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
      rename.setAttribute("aria-label", `Rename ${title}`);
      remove.setAttribute("aria-label", `Delete ${title}`);
    };
    return { node, update };
  }

  #rename(node, conversation) {
    const input = element("input", { "aria-label": "New title", maxlength: "200", dir: "auto", enterkeyhint: "done" });
    const form = element("form", { class: "rename" }, input);
    const leave = () => node.querySelector("a").focus(); // and so the input loses focus, which closes it
    form.addEventListener("submit", (submit) => {
      submit.preventDefault();
      const title = input.value.trim();
      if (title && title !== conversation.title) this.#actions.rename(conversation.conversation_id, title);
      leave();
    });
    input.addEventListener("keydown", ({ key }) => key === "Escape" && leave());
    input.addEventListener("blur", () => form.remove());
    input.value = titleOf(conversation);
    node.append(form);
    input.focus();
    input.select();
  }

  #askToDelete(conversation) {
    this.#dialog.querySelector("[data-title]").textContent = titleOf(conversation);
    askFirst(this.#dialog, () => this.#actions.remove(conversation.conversation_id));
  }
}
