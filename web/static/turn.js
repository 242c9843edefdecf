// One turn on the page: what was said, how it stands, and what can be done with it.
import { element, iconButton } from "./elements.js";
import { sentenceFor } from "./sentences.js";

const remarks = {
  waiting: "Waiting to be sent",
  stopped: "Stopped",
  failed: "This reply could not be finished",
  retrieved: "In the words of someone in another dialogue",
};

/** Returns `{ node, update(turn) }`; the same node serves a turn from its first letter to its last rating. */
export function turnView(turn, actions) {
  return turn.role === "user" ? userTurn(actions) : botTurn(actions);
}

function userTurn(actions) {
  const text = element("p", { class: "text", dir: "auto" });
  const remark = element("p", { class: "remark" });
  const node = element("article", { class: "turn user" }, speaker("You said:"), text, remark);
  const update = (turn) => {
    text.textContent = turn.text;
    node.dataset.status = turn.status;
    remark.replaceChildren(...(turn.status === "refused" ? refusal(turn, actions) : [remarks[turn.status] ?? ""]));
  };
  return { node, update };
}

function refusal(message, actions) {
  const again = textButton("Try again", () => actions.retry(message));
  const edit = textButton("Edit", () => actions.takeBack(message));
  return [sentenceFor({ code: message.refused, message: message.reason }), again, edit];
}

function botTurn(actions) {
  let shown;
  const text = element("p", { class: "text", dir: "auto" });
  const typing = element("p", { class: "typing", role: "img", "aria-label": "typing" }, ...dots());
  const remark = element("p", { class: "remark" });
  const again = textButton("Try again", () => actions.regenerate(shown));
  const thumbs = [thumb("up", "Good reply", 1), thumb("down", "Poor reply", -1)];
  const foot = element("footer", {}, remark, ...thumbs.map(({ button }) => button));
  const node = element("article", { class: "turn bot" }, speaker("Chatbot said:"), text, typing, foot);

  function thumb(name, label, rating) {
    const button = iconButton(`thumb-${name}`, label, () => actions.rate(shown, shown.rating === rating ? 0 : rating));
    return { button, rating };
  }

  function update(turn) {
    shown = turn;
    const streaming = turn.status === "streaming";
    if (text.textContent !== turn.text) text.textContent = turn.text;
    node.dataset.status = turn.status;
    node.setAttribute("aria-busy", String(streaming));
    text.hidden = !turn.text;
    typing.hidden = !streaming || Boolean(turn.text);
    const standing = turn.retrieved ? "retrieved" : turn.status;
    remark.replaceChildren(remarks[standing] ?? "", ...(turn.status === "failed" ? [again] : []));
    for (const { button, rating } of thumbs) {
      button.hidden = streaming || !turn.text;
      button.setAttribute("aria-pressed", String(turn.rating === rating));
    }
  }
  return { node, update };
}

function textButton(words, onClick) {
  const button = element("button", { type: "button", class: "text-button" }, words);
  button.addEventListener("click", onClick);
  return button;
}

const speaker = (words) => element("span", { class: "unseen" }, words);
const dots = () => [1, 2, 3].map(() => element("span", {}));
