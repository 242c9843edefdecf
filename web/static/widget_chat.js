// The chat that is in the widget: one conversation, which this browser keeps for the site that it is in.
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { askFirst, drawn, element } from "./elements.js";
import { LogView } from "./log.js";
import { sentenceFor } from "./sentences.js";
import { lasting } from "./storage.js";
import { remarkOn, speaker, typingSign } from "./turn.js";

const CONVERSATION = "chatbot.widget.conversation"; // its id
const LINKS = { connecting: "Connecting…", online: "Connected", lost: "Reconnecting…", refused: "Not connected" };
const NO_LINE = "No connection. What you write is kept and goes out once it is back.";
const LEARNS = "may learn from what is said here.";
const LINES = {
  face: "M12 4.3c5.4 0 8.8 3.3 8.8 8.6s-3.4 8.6-8.8 8.6-8.8-3.3-8.8-8.6S6.6 4.3 12 4.3ZM10.7 5c-.9-1.8-.4-3.5 1.2-4.4.2 1.1.8 1.7 2 1.9-1.1.6-1.5 1.4-1.3 2.5ZM8.9 9.6a1.3 1.6 0 1 0 0 3.2a1.3 1.6 0 1 0 0-3.2ZM15.1 9.6a1.3 1.6 0 1 0 0 3.2a1.3 1.6 0 1 0 0-3.2ZM8.2 15.4c.6 1.9 2 2.9 3.8 2.9s3.2-1 3.8-2.9c.15-.5-.2-.9-.7-.9H8.9c-.5 0-.85.4-.7.9Z",
  close: "m6 6 12 12M18 6 6 18",
  fold: "m5.5 9 6.5 6.5L18.5 9",
  down: "M12 5v14M5.5 12.5 12 19l6.5-6.5",
  again: "M19 12a7 7 0 1 1-2.2-5.1L19.5 9.5M19.5 4.5v5h-5",
  send: "M12 19V5M5.5 11.5 12 5l6.5 6.5",
  stop: "M8 8h8v8H8Z",
};

export const drawing = (name) =>
  drawn("svg", { class: `icon icon-${name}`, viewBox: "0 0 24 24", "aria-hidden": "true" }, drawn("path", { d: LINES[name] }));

export class WidgetChat {
  #dialog;
  #address;
  #chat = null; // until somebody wants it
  #wasOnline = false;
  #log;
  #composer;
  #question = question();
  #given; // the title that the site gives it
  #title = element("bdi");
  #heading = element("h2", { tabindex: "-1" }, this.#title);
  #link = element("span");
  #welcome = element("p", { class: "welcome" }, "Say something.");
  #alert = element("p");
  #form = composerForm();
  #hint = element("p", { class: "hint" });
  #again = button("again", "Start over", () => askFirst(this.#question, () => this.#startOver()));
  #actions = {
    say: (text) => this.#say(text),
    stop: () => this.#chat.stop(),
    retry: (message) => this.#chat.outbox.retry(message.client_msg_id),
    regenerate: (reply) => this.#chat.regenerate(reply),
    takeBack: (message) => this.#takeBack(message),
    editLast() {}, // here nothing is edited
  };

  /** Fills the dialog with what belongs into it. */
  constructor(dialog, address, title) {
    this.#dialog = dialog;
    this.#address = address;
    this.#given = title;
    this.#entitle("Chat");
    const region = element("div", { class: "log", role: "log", "aria-live": "polite", "aria-label": "Conversation", tabindex: "0" });
    const scroller = element("div", { class: "scroller" }, this.#welcome, region);
    const toEnd = button("down", "Go to the latest message");
    dialog.append(this.#header(), scroller, this.#foot(toEnd), this.#question);
    this.#log = new LogView(region, scroller, toEnd, (turn) => turnView(turn, this.#actions, this.#chat.state.name));
    this.#composer = new Composer(this.#form, this.#actions);
  }

  /** Whether one is asked something that a key answers. */
  get isAsking() {
    return this.#question.open;
  }

  /** Where there is a keyboard to write with at once. */
  focus() {
    if (matchMedia("(hover: hover)").matches && !this.#form.hidden) this.#composer.focus();
    else this.#heading.focus();
  }

  /** Once. */
  connect() {
    if (this.#chat) return;
    this.#chat = new Chat(this.#address, {
      draw: () => this.#draw(),
      followed: (kind, payload) => this.#followed(kind, payload),
      begun: (id) => this.#chat.dispatch("opened", id),
      close: (id) => this.#close(id),
    });
    this.#chat.dispatch("opened", lasting.getItem(CONVERSATION));
    addEventListener("storage", ({ key, newValue }) => key === CONVERSATION && this.#chat.dispatch("opened", newValue));
  }

  #say(text) {
    this.#log.follow();
    this.#chat.outbox.add(this.#chat.state.open, text);
  }

  #followed(kind, payload) {
    if (kind === "opened") this.#keep(payload);
    if (kind === "ready") this.#wasOnline = true;
    if (kind === "link" && payload === "lost" && !this.#wasOnline) return this.#lookWhy();
  }

  #keep(id) {
    id ? lasting.setItem(CONVERSATION, id) : lasting.removeItem(CONVERSATION);
  }

  /** A site that may not talk with the server does not keep trying to. */
  async #lookWhy() {
    if (!(await this.#chat.connection.isRefused())) return;
    this.#chat.connection.close();
    this.#chat.dispatch("link", "refused");
    this.#chat.dispatch("alert", { code: "refused" });
  }

  #close(id) {
    const isOpen = this.#chat.state.open === id;
    if (isOpen) this.#chat.dispatch("opened", null);
    return isOpen;
  }

  #startOver() {
    this.#chat.ask("conversation.delete", { conversation_id: this.#chat.state.open });
  }

  #takeBack(message) {
    this.#chat.outbox.remove(message.client_msg_id);
    this.#composer.takeBack(message.text);
  }

  #draw() {
    const { state, log, turns, isReplying } = this.#chat;
    const alert = state.locked === null ? state.alert : { code: "locked" };
    const link = state.locked === null ? state.link : "refused";
    if (state.name) this.#entitle(state.name);
    this.#dialog.dataset.link = link;
    this.#form.hidden = link === "refused";
    this.#again.hidden = !state.open;
    this.#welcome.hidden = turns.length > 0 || Boolean(log?.more) || link === "refused";
    write(this.#link, LINKS[link]);
    write(this.#alert, alert ? sentenceFor(alert) : "");
    write(this.#hint, link === "lost" ? NO_LINE : state.learn ? `${state.name} ${LEARNS}` : "");
    this.#log.show(state.open, turns);
    this.#composer.show({ replying: isReplying, limit: state.limits.message_characters });
  }

  /** By the name of the chatbot, unless the site has given it a title. */
  #entitle(name) {
    const title = this.#given ?? name;
    write(this.#title, title);
    this.#dialog.setAttribute("aria-label", title);
  }

  #header() {
    const link = element("p", { class: "link", role: "status" }, speaker("Connection: "), this.#link);
    const close = button("close", "Close the chat", () => this.#dialog.close());
    this.#again.hidden = true;
    return element("header", {}, drawing("face"), this.#heading, link, this.#again, close);
  }

  #foot(toEnd) {
    const alert = element("div", { class: "alert", role: "alert" }, this.#alert);
    return element("div", { class: "foot" }, toEnd, alert, this.#form, this.#hint);
  }
}

/** As on the page, without what one can do with a turn there. */
function turnView({ role }, actions, name) {
  const text = element("p", { class: "text", dir: "auto" });
  const typing = typingSign();
  const remark = element("p", { class: "remark" });
  const signs = role === "user" ? [speaker("You said:")] : [drawing("face"), speaker(`${name} said:`)];
  const node = element("article", { class: `turn ${role}` }, ...signs, text, typing, remark);

  function update(turn) {
    write(text, turn.text);
    node.dataset.status = turn.status;
    node.setAttribute("aria-busy", String(turn.status === "streaming"));
    text.hidden = !turn.text;
    typing.hidden = turn.status !== "streaming" || Boolean(turn.text);
    remark.replaceChildren(...remarkOn(turn, actions));
  }
  return { node, update };
}

function composerForm() {
  const written = { rows: "1", "aria-label": "Your message", placeholder: "Write a message", dir: "auto", enterkeyhint: "send", autocomplete: "off" };
  const remaining = element("span", { class: "remaining", "aria-live": "polite" });
  const send = element("button", { class: "send" }, drawing("send"), drawing("stop"));
  return element("form", { class: "composer" }, element("textarea", written), remaining, send);
}

function question() {
  const keep = element("button", { class: "button", value: "cancel", autofocus: "" }, "Keep it");
  const erase = element("button", { class: "button danger", value: "delete" }, "Start over");
  const words = element("p", {}, "What was said here is erased for good, and you can begin anew.");
  const form = element("form", { method: "dialog" }, element("h2", {}, "Start over?"), words, keep, erase);
  return element("dialog", { class: "question", "aria-label": "Start over?" }, form);
}

function button(name, label, onClick = () => {}) {
  const made = element("button", { type: "button", class: `icon-button to-${name}`, "aria-label": label, title: label }, drawing(name));
  made.addEventListener("click", onClick);
  return made;
}

/** What is read out is changed only where it differs. */
function write(node, words) {
  if (node.textContent !== words) node.textContent = words;
}
