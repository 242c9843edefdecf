// The list of conversations: search, open, rename in place, delete. What is deleted can be had back for some seconds.
import { arrange, element, iconButton, textButton } from "./elements.js";
import { listedOf } from "./state.js";

const TYPING_MS = 200; // without a key, after which a search begins

export const titleOf = (conversation) => conversation?.title || "New conversation";

const isNearEnd = (list) => list.scrollTop + 2 * list.clientHeight > list.scrollHeight;

export class Sidebar {
  #parts;
  #actions;
  #items = new Map(); // conversation_id -> { node, update }
  #typing;

  /** `parts`: the elements list, search, empty (a sentence for an empty list) and undo (where deletions are told of). */
  constructor(parts, actions) {
    this.#parts = parts;
    this.#actions = actions;
    parts.search.addEventListener("input", () => this.#typed());
    parts.search.addEventListener("keydown", (press) => this.#pressed(press));
    parts.list.addEventListener("scroll", () => isNearEnd(parts.list) && actions.listMore(), { passive: true });
  }

  show(state) {
    const listed = listedOf(state);
    this.#items = new Map(listed.map((conversation) => [conversation.conversation_id, this.#item(conversation)]));
    for (const conversation of listed) this.#showItem(conversation, state);
    arrange(this.#parts.list, [...this.#items.values()].map(({ node }) => node));
    this.#showEmpty(state, listed.length);
    this.#showUndo(state);
  }

  focusSearch() {
    this.#parts.search.focus();
    this.#parts.search.select();
  }

  #showItem(conversation, { open, search }) {
    const id = conversation.conversation_id;
    this.#items.get(id).update(conversation, id === open, search.words && search.found.get(id));
  }

  #showEmpty({ listed, search }, count) {
    this.#parts.empty.hidden = !listed || count > 0;
    const sentence = search.words ? "Nothing was said with these words." : "Your conversations will be listed here.";
    if (this.#parts.empty.textContent !== sentence) this.#parts.empty.textContent = sentence;
  }

  #showUndo({ conversations, deleting }) {
    const shown = new Set([...this.#parts.undo.children].map(({ dataset }) => dataset.id));
    const gone = conversations.filter(({ conversation_id }) => deleting.includes(conversation_id));
    for (const conversation of gone) if (!shown.delete(conversation.conversation_id)) this.#offerUndo(conversation);
    for (const child of [...this.#parts.undo.children]) if (shown.has(child.dataset.id)) this.#endUndo(child);
  }

  /** What was deleted took the focus with it, if it had it. */
  #offerUndo(conversation) {
    const offer = this.#undoOf(conversation);
    this.#parts.undo.append(offer);
    if (document.activeElement === document.body) offer.querySelector("button").focus();
  }

  #endUndo(offer) {
    const hadFocus = offer.contains(document.activeElement);
    offer.remove();
    if (hadFocus) this.#parts.search.focus();
  }

  #undoOf(conversation) {
    const words = element("span", {}, "Deleted “", element("bdi", {}, titleOf(conversation)), "”");
    const button = textButton("Undo", () => this.#actions.undoRemove(conversation.conversation_id));
    return element("p", { "data-id": conversation.conversation_id }, words, button);
  }

  #typed() {
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#actions.search(this.#parts.search.value.trim()), TYPING_MS);
  }

  #pressed(press) {
    if (press.key !== "Escape" || !this.#parts.search.value) return;
    press.preventDefault();
    press.stopPropagation();
    this.#parts.search.value = "";
    this.#actions.search("");
  }

  #item({ conversation_id }) {
    return this.#items.get(conversation_id) ?? this.#newItem(conversation_id);
  }

  #newItem(id) {
    let shown;
    const title = element("span", { class: "title", dir: "auto" });
    const excerpt = element("span", { class: "excerpt", dir: "auto" });
    const link = element("a", { href: `#${id}` }, title, excerpt);
    const rename = iconButton("pencil", "Rename", () => this.#rename(node, shown));
    const remove = iconButton("bin", "Delete", () => this.#actions.remove(id));
    const node = element("li", {}, link, rename, remove);
    const update = (conversation, isOpen, found) => {
      shown = conversation;
      const words = titleOf(conversation);
      if (title.textContent !== words) title.textContent = link.title = words;
      excerpt.textContent = found || "";
      isOpen ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
      rename.setAttribute("aria-label", `Rename ${words}`);
      remove.setAttribute("aria-label", `Delete ${words}`);
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
    input.addEventListener("keydown", (press) => {
      if (press.key !== "Escape") return;
      press.stopPropagation();
      leave();
    });
    input.addEventListener("blur", () => form.remove());
    input.value = titleOf(conversation);
    node.append(form);
    input.focus();
    input.select();
  }
}
