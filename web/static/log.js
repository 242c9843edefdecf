// The conversation on the page: a live region that grows at its end and follows it, unless one reads further up. Of a long
// one only a part is there, which goes with the scrolling.
import { arrange } from "./elements.js";

const NEAR_THE_END = 96; // px
const AT_FIRST = 60; // turns
const MORE = 8; // turns, added where less than two screens are left and taken away at the other end
const MANY = 30; // the same where less than one is left: few at a time scroll more evenly
const MOST = 150; // turns; more on a screen of which they would not fill five
const LEAST_HEIGHT = 40; // px of a turn
const SETTLED_MS = 500;

export class LogView {
  #region;
  #scroller;
  #toEnd;
  #makeView;
  #views = new Map(); // key -> { node, update, turn }
  #conversation;
  #turns = [];
  #first = 0; // place of the first turn that is there
  #end = 0; // place after the last one
  #atEnd = true;
  #following = false;
  #speaking;

  /** `makeView(turn)` returns what shows a turn: { node, update(turn) }. */
  constructor(region, scroller, toEnd, makeView) {
    this.#region = region;
    this.#scroller = scroller;
    this.#toEnd = toEnd;
    this.#makeView = makeView;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#atEnd && this.#scrollToEnd()).observe(scroller);
    toEnd.addEventListener("click", () => this.#goToEnd());
  }

  /** Shows `turns` of one conversation; of a turn that is the same object as before nothing is touched. */
  show(conversation, turns) {
    const isAnother = conversation !== this.#conversation || this.#turns.length === 0;
    const follow = isAnother || this.#following || (this.#atEnd && !this.#isOtherBranch(turns));
    this.#following = false;
    if (isAnother && turns.length > 1) this.#keepQuiet();
    this.#conversation = conversation;
    this.#turns = turns;
    if (isAnother) this.#first = Infinity;
    this.#choosePart(follow);
    this.#draw();
    if (follow) this.#scrollToEnd();
    this.#noteEnd();
  }

  /** Goes to the end when it shows what comes next: one has said something here. */
  follow() {
    this.#following = true;
  }

  /** Opens the editor of what one said last. */
  editLast() {
    const own = this.#turns.findLast(({ role, id }) => role === "user" && id);
    if (own) this.#views.get(keyOf(own))?.edit();
  }

  /** Stresses a turn, or none. */
  mark(id) {
    for (const { node, turn } of this.#views.values()) node.classList.toggle("marked", Boolean(id) && turn.id === id);
  }

  /** Brings a turn into sight, wherever it is. */
  goTo(id) {
    const place = this.#turns.findIndex((turn) => turn.id === id);
    if (place < 0) return;
    if (place < this.#first || place >= this.#end) this.#drawAround(place);
    this.#views.get(keyOf(this.#turns[place])).node.scrollIntoView({ block: "center" });
  }

  #drawAround(place) {
    this.#keepQuiet();
    this.#first = Math.max(0, place - Math.floor(this.#most() / 2));
    this.#end = Math.min(this.#turns.length, this.#first + this.#most());
    this.#draw();
  }

  #choosePart(follow) {
    const count = this.#turns.length;
    this.#first = Math.min(this.#first, Math.max(0, count - AT_FIRST));
    if (follow) this.#first = Math.max(this.#first, count - this.#most());
    this.#end = Math.min(count, this.#first + this.#most());
  }

  #most() {
    return Math.max(MOST, Math.ceil((5 * this.#scroller.clientHeight) / LEAST_HEIGHT));
  }

  /** Whether one has stepped to another branch: where it forked stays in sight then. */
  #isOtherBranch(turns) {
    const fork = this.#turns.findIndex((turn, place) => !turns[place] || keyOf(turn) !== keyOf(turns[place]));
    return fork >= 0 && fork < this.#turns.length - 1;
  }

  #draw() {
    const focused = this.#focused();
    const shown = this.#turns.slice(this.#first, this.#end).map((turn) => [keyOf(turn), this.#viewOf(turn)]);
    const edited = [...this.#views].filter(([, { node }]) => node.querySelector("form")); // it may come into sight again
    this.#views = new Map([...edited, ...shown]);
    arrange(this.#region, shown.map(([, { node }]) => node));
    if (focused) this.#focusAgain(focused);
  }

  #viewOf(turn) {
    const view = this.#views.get(keyOf(turn)) ?? this.#makeView(turn);
    if (view.turn !== turn) view.update(turn);
    view.node.dataset.turn = turn.id ?? "";
    view.turn = turn;
    return view;
  }

  /** Where the focus is, as the place of its turn and what its control is for: an alternative takes both over. */
  #focused() {
    const place = [...this.#region.children].findIndex((turn) => turn.contains(this.#active));
    return place >= 0 && { place, name: this.#active.dataset.name };
  }

  get #active() {
    return this.#region.getRootNode().activeElement; // of the page, or of the shadow tree that this is in
  }

  #focusAgain({ place, name }) {
    if (this.#region.contains(this.#active) && this.#active.checkVisibility()) return;
    const controls = this.#region.children[place]?.querySelectorAll(`[data-name="${name}"], .steps button`) ?? [];
    const usable = [...controls].filter((control) => !control.disabled && control.checkVisibility());
    const same = usable.find(({ dataset }) => dataset.name === name);
    (same ?? usable[0] ?? this.#region).focus({ preventScroll: true });
  }

  #scrolled() {
    this.#noteEnd();
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    const left = scrollHeight - scrollTop - clientHeight;
    if (this.#first > 0 && scrollTop < 2 * clientHeight) this.#slide(scrollTop < clientHeight ? -MANY : -MORE);
    else if (this.#end < this.#turns.length && left < 2 * clientHeight) this.#slide(left < clientHeight ? MANY : MORE);
  }

  /** Moves the part that is there; what one reads stays in its place. */
  #slide(by) {
    const top = this.#scroller.getBoundingClientRect().top;
    const read = [...this.#region.children].find((turn) => turn.getBoundingClientRect().bottom > top);
    const place = read.getBoundingClientRect().top;
    this.#keepQuiet();
    this.#end = Math.min(this.#turns.length, by > 0 ? this.#end + by : Math.max(0, this.#first + by) + this.#most());
    this.#first = Math.max(0, by > 0 ? this.#end - this.#most() : this.#first + by);
    this.#draw();
    this.#scroller.scrollTop += read.getBoundingClientRect().top - place;
  }

  #goToEnd() {
    const isThere = this.#end === this.#turns.length;
    if (!isThere) this.#first = Infinity;
    this.#choosePart(true);
    this.#draw();
    this.#scrollToEnd(isThere ? "smooth" : "instant");
  }

  /** What was said long ago is not read out when it appears. */
  #keepQuiet() {
    this.#region.setAttribute("aria-live", "off");
    clearTimeout(this.#speaking);
    this.#speaking = setTimeout(() => this.#region.setAttribute("aria-live", "polite"), SETTLED_MS);
  }

  #noteEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    this.#atEnd = this.#end === this.#turns.length && scrollHeight - scrollTop - clientHeight < NEAR_THE_END;
    this.#toEnd.hidden = this.#atEnd;
  }

  #scrollToEnd(behavior = "instant") {
    this.#scroller.scrollTo({ top: this.#scroller.scrollHeight, behavior });
  }
}

/** A message keeps its key when it turns from waiting to acknowledged, so its element stays. */
const keyOf = (turn) => turn.client_msg_id ?? turn.id;
