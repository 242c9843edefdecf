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
  let given; // the rating asked for last, until it is shown: who writes a better reply does not wait for that
  const text = element("p", { class: "text", dir: "auto" });
  const typing = element("p", { class: "typing", role: "img", "aria-label": "typing" }, ...dots());
  const remark = element("p", { class: "remark" });
  const again = textButton("Try again", () => actions.regenerate(shown));
  const thumbs = [thumb("up", "Good reply", 1), thumb("down", "Poor reply", -1)];
  const better = element("p", { class: "better", dir: "auto" });
  const editor = betterEditor((words) => suggest(words), () => edit(false, pencil));
  const pencil = iconButton("pencil", "Suggest a better reply", () => edit(editor.form.hidden, editor.input));
  const foot = element("footer", {}, remark, ...thumbs.map(({ button }) => button), pencil);
  const node = element("article", { class: "turn bot" }, speaker("Chatbot said:"), text, typing, better, editor.form, foot);

  function thumb(name, label, rating) {
    const button = iconButton(`thumb-${name}`, label, () => rate(shown.rating === rating ? 0 : rating));
    return { button, rating };
  }

  function rate(rating) {
    given = rating;
    actions.rate(shown, rating, rating === 1 ? null : shown.better_text); // what is good needs no better one
    edit(rating === -1);
  }

  async function suggest(words) {
    if (await actions.rate(shown, Math.min(given ?? shown.rating, 0), words)) edit(false, pencil);
  }

  function edit(open, focused) {
    editor.form.hidden = !open;
    better.hidden = open || !shown.better_text;
    pencil.setAttribute("aria-expanded", String(open));
    editor.input.value = shown.better_text ?? "";
    focused?.focus();
  }

  function update(turn) {
    shown = turn;
    if (turn.rating === given) given = undefined;
    const streaming = turn.status === "streaming";
    if (text.textContent !== turn.text) text.textContent = turn.text;
    node.dataset.status = turn.status;
    node.setAttribute("aria-busy", String(streaming));
    text.hidden = !turn.text;
    typing.hidden = !streaming || Boolean(turn.text);
    const standing = turn.retrieved ? "retrieved" : turn.status;
    remark.replaceChildren(remarks[standing] ?? "", ...(turn.status === "failed" ? [again] : []));
    better.textContent = `You’d rather it had said: ${turn.better_text}`;
    better.hidden = !turn.better_text || !editor.form.hidden;
    for (const { button, rating } of thumbs) button.setAttribute("aria-pressed", String(turn.rating === rating));
    for (const button of [...thumbs.map(({ button }) => button), pencil]) button.hidden = streaming || !turn.text;
  }
  return { node, update };
}

/** Where one writes what the bot should have said instead; nothing takes back what was there. */
function betterEditor(save, cancel) {
  const input = element("input", { dir: "auto", enterkeyhint: "done", autocomplete: "off" });
  const label = element("label", {}, "I’d rather it had said", input);
  const buttons = [element("button", { class: "text-button" }, "Save"), textButton("Cancel", cancel)];
  const form = element("form", { class: "editor", hidden: "" }, label, ...buttons);
  form.addEventListener("submit", (submit) => {
    submit.preventDefault();
    save(input.value.trim());
  });
  form.addEventListener("keydown", ({ key }) => key === "Escape" && cancel());
  return { form, input };
}

function textButton(words, onClick) {
  const button = element("button", { type: "button", class: "text-button" }, words);
  button.addEventListener("click", onClick);
  return button;
}

const speaker = (words) => element("span", { class: "unseen" }, words);
const dots = () => [1, 2, 3].map(() => element("span", {}));
