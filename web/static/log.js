// The conversation on the page: a live region that grows at its end and follows it, unless one reads further up. Of a long
// one only the end is there at first; what comes before is added as one scrolls up to it.
import { arrange } from "./elements.js";
import { turnView } from "./turn.js";

const NEAR_THE_END = 96; // px
const AT_FIRST = 60; // turns
const MORE = 30; // turns, added whenever the beginning is less than
const AHEAD = 3; // screens away
const SETTLED_MS = 500;

export class LogView {
  #region;
  #scroller;
  #toEnd;
  #actions;
  #views = new Map(); // key -> { node, update, turn }
  #conversation;
  #turns = [];
  #first = 0; // place of the first turn that is there
  #atEnd = true;
  #speaking;

  constructor(region, scroller, toEnd, actions) {
    this.#region = region;
    this.#scroller = scroller;
    this.#toEnd = toEnd;
    this.#actions = actions;
    scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#atEnd && this.#scrollToEnd()).observe(scroller);
    toEnd.addEventListener("click", () => this.#scrollToEnd("smooth"));
  }

  /** Shows `turns` of one conversation; of a turn that is the same object as before nothing is touched. */
  show(conversation, turns) {
    const isAnother = conversation !== this.#conversation || this.#turns.length === 0;
    const follow = isAnother || this.#atEnd || this.#hasNewOwn(turns);
    const last = Math.max(0, turns.length - AT_FIRST);
    this.#first = isAnother ? last : Math.min(this.#first, last);
    if (isAnother && turns.length > 1) this.#keepQuiet();
    this.#conversation = conversation;
    this.#turns = turns;
    this.#draw();
    if (follow) this.#scrollToEnd();
    this.#noteEnd();
  }

  /** Opens the editor of what one said last. */
  editLast() {
    const own = this.#turns.findLast(({ role, id }) => role === "user" && id);
    if (own) this.#views.get(keyOf(own)).edit();
  }

  #draw() {
    const focused = this.#focused();
    this.#views = new Map(this.#turns.slice(this.#first).map((turn) => [keyOf(turn), this.#viewOf(turn)]));
    arrange(this.#region, [...this.#views.values()].map(({ node }) => node));
    if (focused) this.#focusAgain(focused);
  }

  #viewOf(turn) {
    const view = this.#views.get(keyOf(turn)) ?? turnView(turn, this.#actions);
    if (view.turn !== turn) view.update(turn);
    view.turn = turn;
    return view;
  }

  #hasNewOwn(turns) {
    return turns.some((turn) => turn.status === "waiting" && !this.#views.has(keyOf(turn)));
  }

  /** Where the focus is, as the place of its turn and what its control is for: an alternative takes both over. */
  #focused() {
    const turn = document.activeElement.closest?.("#log > article");
    const place = [...this.#region.children].indexOf(turn);
    return turn && { place, name: document.activeElement.dataset.name };
  }

  #focusAgain({ place, name }) {
    if (this.#region.contains(document.activeElement) && document.activeElement.checkVisibility()) return;
    const controls = this.#region.children[place]?.querySelectorAll(`[data-name="${name}"], .steps button`) ?? [];
    const usable = [...controls].filter((control) => !control.disabled && control.checkVisibility());
    const same = usable.find(({ dataset }) => dataset.name === name);
    (same ?? usable[0] ?? this.#region).focus({ preventScroll: true });
  }

  #scrolled() {
    this.#noteEnd();
    if (this.#first > 0 && this.#scroller.scrollTop < AHEAD * this.#scroller.clientHeight) this.#addEarlier();
  }

  /** Browsers keep what one reads in its place, but not at the very top, and not all of them do. */
  #addEarlier() {
    const { scrollHeight, scrollTop } = this.#scroller;
    this.#keepQuiet();
    this.#first = Math.max(0, this.#first - MORE);
    this.#draw();
    if (scrollTop > 0 && CSS.supports("overflow-anchor: auto")) return;
    this.#scroller.scrollTop = scrollTop + this.#scroller.scrollHeight - scrollHeight;
  }

  /** What was said long ago is not read out when it appears. */
  #keepQuiet() {
    this.#region.setAttribute("aria-live", "off");
    clearTimeout(this.#speaking);
    this.#speaking = setTimeout(() => this.#region.setAttribute("aria-live", "polite"), SETTLED_MS);
  }

  #noteEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    this.#atEnd = scrollHeight - scrollTop - clientHeight < NEAR_THE_END;
    this.#toEnd.hidden = this.#atEnd;
  }

  #scrollToEnd(behavior = "instant") {
    this.#scroller.scrollTo({ top: this.#scroller.scrollHeight, behavior });
  }
}

/** A message keeps its key when it turns from waiting to acknowledged, so its element stays. */
const keyOf = (turn) => turn.client_msg_id ?? turn.id;
