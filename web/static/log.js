// The conversation on the page: a live region that grows at its end and follows it, unless one reads further up.
import { arrange } from "./elements.js";
import { turnView } from "./turn.js";

const NEAR_THE_END = 96; // px

export class LogView {
  #region;
  #scroller;
  #toEnd;
  #actions;
  #views = new Map(); // key -> { node, update, turn }
  #conversation;
  #atEnd = true;

  constructor(region, scroller, toEnd, actions) {
    this.#region = region;
    this.#scroller = scroller;
    this.#toEnd = toEnd;
    this.#actions = actions;
    scroller.addEventListener("scroll", () => this.#noteEnd(), { passive: true });
    new ResizeObserver(() => this.#atEnd && this.#scrollToEnd()).observe(scroller);
    toEnd.addEventListener("click", () => this.#scrollToEnd("smooth"));
  }

  /** Shows `turns` of one conversation; of a turn that is the same object as before nothing is touched. */
  show(conversation, turns) {
    const follow = conversation !== this.#conversation || this.#atEnd || this.#hasNewOwn(turns);
    this.#conversation = conversation;
    const kept = new Map(turns.map((turn) => [keyOf(turn), this.#viewOf(turn)]));
    this.#views = kept;
    arrange(this.#region, [...kept.values()].map(({ node }) => node));
    if (follow) this.#scrollToEnd();
    this.#noteEnd();
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
