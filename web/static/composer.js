// Where one writes. Enter sends, Shift+Enter breaks the line; while a reply streams, the same button stops it. What is not
// sent yet survives a reload.
import { isComposing } from "./elements.js";
import { ofTab } from "./storage.js";

const SHOW_REMAINING = 200; // characters
const DRAFT = "chatbot.draft";
const VISIBLE = /[^\p{Z}\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}\u2800]/u; // the server refuses a message without any

export class Composer {
  #form;
  #input;
  #button;
  #remaining;
  #actions;
  #limit = Infinity;
  #replying = false;

  constructor(form, actions) {
    this.#form = form;
    this.#input = form.querySelector("textarea");
    this.#button = form.querySelector("button");
    this.#remaining = form.querySelector(".remaining");
    this.#actions = actions;
    form.addEventListener("submit", (submit) => this.#submit(submit));
    this.#input.addEventListener("keydown", (key) => this.#pressed(key));
    this.#input.addEventListener("input", () => this.#refresh());
    this.#input.addEventListener("focus", () => this.#grow());
    this.#input.value = ofTab.getItem(DRAFT) ?? "";
  }

  show({ replying, limit }) {
    this.#replying = replying;
    this.#limit = limit;
    this.#refresh();
  }

  /** Puts `text` in front of what is being written. */
  takeBack(text) {
    this.#input.value = [text, this.#input.value].filter(Boolean).join("\n");
    this.#refresh();
    this.#input.focus();
  }

  focus() {
    this.#input.focus();
  }

  #pressed(key) {
    if (key.key === "ArrowUp" && !this.#input.value) {
      key.preventDefault();
      return this.#actions.editLast();
    }
    if (key.key !== "Enter" || key.shiftKey || isComposing(key)) return;
    key.preventDefault();
    if (!this.#replying) this.#form.requestSubmit();
  }

  #submit(submit) {
    submit.preventDefault();
    if (this.#replying) return this.#actions.stop();
    const text = this.#input.value.trim();
    if (isBlank(text) || length(text) > this.#limit) return;
    this.#input.value = "";
    this.#refresh();
    this.#actions.say(text);
  }

  #refresh() {
    const left = this.#limit - length(this.#input.value.trim());
    const label = this.#replying ? "Stop the reply" : "Send";
    this.#form.dataset.mode = this.#replying ? "stop" : "send";
    this.#button.setAttribute("aria-label", label);
    this.#button.title = label;
    this.#button.disabled = !this.#replying && (left < 0 || isBlank(this.#input.value));
    this.#remaining.textContent = left > SHOW_REMAINING ? "" : left < 0 ? `${-left} too many` : `${left} left`;
    ofTab.setItem(DRAFT, this.#input.value);
    this.#grow();
  }

  #grow() {
    this.#input.style.height = "auto";
    const { scrollHeight } = this.#input;
    if (scrollHeight) this.#input.style.height = `${scrollHeight}px`; // it has none while it is not shown
  }
}

/** Characters as the server counts them: code points. */
const length = (text) => [...text].length;
const isBlank = (text) => !VISIBLE.test(text);
