// A look inside: the path of the dialogue's state, why a reply was chosen, and the same turn decoded in other ways. It asks
// only while it is open, and again when a turn has come.
import { element } from "./elements.js";
import { PathPicture, candidatesTable, variantsList, wordTree } from "./pictures.js";
import { sentenceFor } from "./sentences.js";

const PATIENCE_MS = { ways: 60_000 }; // several replies, the last by a model that is loaded for it
const NO_TURNS = "Say something, and the path begins.";
const NO_CHOICE = "This reply was not chosen among several, or it is older than the record of such choices.";

export class Panel {
  #node;
  #button;
  #connection;
  #log;
  #opener; // what had the focus before it was opened
  #conversation = null;
  #turns = [];
  #isOnline = false;
  #name;
  #reply = null; // id of the one asked about; null is the last one
  #shown = null; // id of the one that is shown
  #picture = null;
  #asked = {}; // part -> what for: an answer to something else came too late

  /** `button` opens and closes it, too; in `log` turns are marked and gone to. */
  constructor(node, button, connection, log) {
    this.#node = node;
    this.#button = button;
    this.#connection = connection;
    this.#log = log;
    button.addEventListener("click", () => this.toggle());
    this.#part("close").addEventListener("click", () => this.close());
    this.#part("decode").addEventListener("click", () => this.#decode());
  }

  get isOpen() {
    return !this.#node.hidden;
  }

  get hasFocus() {
    return this.#node.contains(document.activeElement);
  }

  toggle() {
    if (this.isOpen) return this.close();
    this.#open();
    this.#part("title").focus();
  }

  /** Opens it where it tells why this reply was chosen. */
  async explain(reply) {
    this.#reply = reply.id;
    const title = this.#part("why-title");
    const isThere = this.#open();
    title.focus({ preventScroll: true });
    await isThere; // what comes above it, too
    title.scrollIntoView({ block: "start" });
  }

  close() {
    const { hasFocus } = this;
    this.#node.hidden = true;
    this.#button.setAttribute("aria-expanded", "false");
    this.#log.mark(null);
    this.#askAnew();
    if (hasFocus) (this.#opener?.checkVisibility() ? this.#opener : this.#button).focus();
  }

  /** `turns` are those of the active branch, `name` is what the chatbot is called. */
  show(conversation, turns, isOnline, name) {
    const isAnother = conversation !== this.#conversation;
    if (isAnother) this.#forgetAll();
    else if (isOnline && !this.#isOnline) this.#askAnew();
    if (turns.at(-1)?.id !== this.#turns.at(-1)?.id) this.#reply = null;
    this.#conversation = conversation;
    this.#turns = turns;
    this.#isOnline = isOnline;
    this.#name = name;
    if (this.isOpen) this.#refresh();
  }

  /** Shows where on the path a turn is. */
  point(turn_id) {
    if (this.isOpen) this.#picture?.point(turn_id);
  }

  #open() {
    if (!this.hasFocus) this.#opener = document.activeElement;
    this.#node.hidden = false;
    this.#button.setAttribute("aria-expanded", "true");
    return this.#refresh();
  }

  /** Resolves once all that it had to ask for is there. */
  #refresh() {
    return Promise.all([this.#showPath(this.#turns.at(-1)), this.#showReply(this.#explained())]);
  }

  #explained() {
    const ended = ({ role, status, text }) => role === "bot" && status !== "streaming" && text;
    return this.#turns.find(({ id }) => id && id === this.#reply) ?? this.#turns.findLast(ended);
  }

  #showPath(leaf) {
    if (!leaf) return this.#fill("path", [element("p", { class: "nothing" }, NO_TURNS)]);
    if (leaf.role === "user" || leaf.status === "streaming") return; // more is about to come
    return this.#ask("path", `${leaf.id} ${leaf.status}`, "conversation.path", {}, (path) => this.#drawn(path));
  }

  #drawn(path) {
    const said = new Map(this.#turns.map(({ id, text }) => [id, text]));
    const { focused } = this.#picture ?? {};
    const textOf = (id) => said.get(id) || "…";
    this.#picture = new PathPicture(path, this.#name, textOf, (id) => this.#log.mark(id), (id) => this.#goTo(id));
    if (focused) queueMicrotask(() => this.#picture.focus(focused)); // once it is there
    return this.#picture.nodes;
  }

  #goTo(id) {
    this.#log.goTo(id);
    this.#log.mark(id);
    if (this.#turns.find((turn) => turn.id === id)?.role !== "bot") return;
    this.#reply = id;
    this.#refresh();
  }

  #showReply(reply) {
    for (const name of ["why", "ways"]) this.#part(name).closest("section").hidden = !reply;
    if (!reply) return;
    if (reply.id !== this.#shown) this.#forget(reply);
    return this.#ask("why", reply.id, "reply.explain", { reply_id: reply.id }, ({ candidates }) =>
      candidates.length ? candidatesTable(candidates) : [element("p", { class: "nothing" }, NO_CHOICE)]);
  }

  #forgetAll() {
    this.#asked = {};
    this.#shown = null;
    this.#picture = null;
    this.#fill("path", []);
  }

  /** What could not be told may be told the next time; what is being decoded is still awaited. */
  #askAnew() {
    this.#asked = { ways: this.#asked.ways };
  }

  #forget(reply) {
    this.#shown = reply.id;
    this.#part("reply").textContent = reply.text;
    this.#asked.ways = null;
    this.#fill("ways", []);
    this.#part("decoding").textContent = "";
  }

  async #decode() {
    if (this.#part("decoding").textContent) return; // it is under way
    this.#part("decoding").textContent = "Decoding…";
    const draw = ({ variants, tree }) => {
      const beam = variants.find(({ name }) => name === "beam");
      return [variantsList(variants), wordTree(tree, beam?.text ?? "")];
    };
    await this.#ask("ways", {}, "reply.compare", { reply_id: this.#shown }, draw);
  }

  /** Asks for what a part shows, unless it was asked for already. */
  async #ask(part, what, name, payload, draw) {
    if (this.#asked[part] === what) return;
    this.#asked[part] = what;
    const answer = await this.#answer(name, payload, PATIENCE_MS[part]);
    if (this.#asked[part] !== what) return;
    const isFault = answer instanceof Error;
    this.#fill(part, isFault ? [element("p", { class: "nothing" }, sentenceFor(answer))] : draw(answer));
    if (part === "ways") this.#part("decoding").textContent = "";
  }

  async #answer(name, payload, timeout) {
    try {
      return await this.#connection.request(name, { conversation_id: this.#conversation, ...payload }, timeout);
    } catch (error) {
      return error;
    }
  }

  #fill(part, nodes) {
    this.#part(part).replaceChildren(...nodes);
  }

  #part(name) {
    return this.#node.querySelector(`#panel-${name}`);
  }
}
