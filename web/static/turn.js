// One turn on the page: what was said, how it stands, and what can be done with it.
import { copyText, element, icon, iconButton, isComposing, textButton } from "./elements.js";
import { sentenceFor } from "./sentences.js";

const remarks = {
  waiting: "Waiting to be sent",
  stopped: "Stopped",
  failed: "This reply could not be finished",
  retrieved: "In the words of someone in another dialogue",
  guarded: "A fixed answer",
};
const COPIED_MS = 1_500;
const UNSPOKEN = { "aria-live": "off" }; // or each reply would be followed by the names of all that can be done with it

/** Returns `{ node, update(turn) }`; `name` is what the chatbot is called. The same node serves a turn from its first letter to its last rating. */
export function turnView(turn, actions, name) {
  const view = turn.role === "user" ? userTurn(actions) : botTurn(actions, name);
  view.node.classList.toggle("arriving", turn.status === "waiting" || turn.status === "streaming");
  return view;
}

function userTurn(actions) {
  let shown;
  const text = element("p", { class: "text", dir: "auto" });
  const remark = element("p", { class: "remark" });
  const editor = makeEditor("textarea", "Say this instead", "Send", (words) => say(words), () => edit(false, pencil));
  const pencil = named("edit", iconButton("pencil", "Edit message", () => edit(true)));
  const steps = stepper((id) => actions.choose(id));
  const copy = copyButton(() => shown.text);
  const foot = element("footer", UNSPOKEN, steps.node, copy, pencil);
  const node = element("article", { class: "turn user" }, speaker("You said:"), text, remark, foot);

  function edit(open = true, focused = editor.input) {
    editor.show(open, foot, shown.text);
    text.hidden = foot.hidden = open;
    focused.focus();
  }

  function say(words) {
    edit(false, pencil);
    if (words && words !== shown.text) actions.edit(shown, words);
  }

  function update(turn) {
    shown = turn;
    text.textContent = turn.text;
    node.dataset.status = turn.status;
    remark.replaceChildren(...remarkOn(turn, actions));
    pencil.hidden = !turn.id;
    steps.update(turn);
  }
  return { node, update, edit };
}

/** How a turn stands, and what can be done about that. */
export function remarkOn(turn, actions) {
  if (turn.status === "refused") return refusal(turn, actions);
  const words = remarks[turn.guarded ? "guarded" : turn.retrieved ? "retrieved" : turn.status] ?? "";
  return turn.status === "failed" ? [words, textButton("Try again", () => actions.regenerate(turn))] : [words];
}

function refusal(message, actions) {
  const again = textButton("Try again", () => actions.retry(message));
  const edit = textButton("Edit", () => actions.takeBack(message));
  return [sentenceFor({ code: message.refused, message: message.reason }), again, edit];
}

function botTurn(actions, name) {
  let shown;
  let given; // the rating asked for last, until it is shown: who writes a better reply does not wait for that
  const text = element("p", { class: "text", dir: "auto" });
  const typing = typingSign();
  const remark = element("p", { class: "remark" });
  const steps = stepper((id) => actions.choose(id));
  const copy = copyButton(() => shown.text);
  const thumbs = [thumb("up", "Good reply", 1), thumb("down", "Poor reply", -1)];
  const better = element("p", { class: "better", dir: "auto" });
  const editor = makeEditor("input", "I’d rather it had said", "Save", (words) => suggest(words), () => edit(false, instead));
  const instead = named("better", iconButton("better", "Suggest a better reply", () => edit(!editor.form.isConnected, editor.input)));
  const other = named("other", iconButton("again", "Another reply", () => actions.regenerate(shown)));
  const why = named("why", iconButton("why", "Why this reply?", () => actions.explain(shown)));
  const controls = [copy, ...thumbs.map(({ button }) => button), instead, other, why];
  const foot = element("footer", {}, remark, element("span", { class: "controls", ...UNSPOKEN }, ...controls, steps.node));
  const face = icon("face");
  face.classList.add("face");
  const node = element("article", { class: "turn bot" }, face, speaker(`${name} said:`), text, typing, better, foot);

  function thumb(name, label, rating) {
    const button = iconButton(`thumb-${name}`, label, () => rate(shown.rating === rating ? 0 : rating));
    return { button: named(name, button), rating };
  }

  function rate(rating) {
    given = rating;
    actions.rate(shown, rating, rating === 1 ? null : shown.better_text); // what is good needs no better one
    edit(rating === -1);
  }

  async function suggest(words) {
    if (await actions.rate(shown, Math.min(given ?? shown.rating, 0), words)) edit(false, instead);
  }

  function edit(open, focused) {
    editor.show(open, foot, shown.better_text ?? "");
    better.hidden = open || !shown.better_text;
    instead.setAttribute("aria-expanded", String(open));
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
    remark.replaceChildren(...remarkOn(turn, actions));
    better.textContent = `You’d rather it had said: ${turn.better_text}`;
    better.hidden = !turn.better_text || editor.form.isConnected;
    for (const { button, rating } of thumbs) button.setAttribute("aria-pressed", String(turn.rating === rating));
    for (const button of controls) button.hidden = streaming || !turn.text;
    steps.update(turn);
  }
  return { node, update };
}

/** Arrows through what else was said in this place; `choose` gets the id of the turn beside. */
function stepper(choose) {
  let shown;
  const place = () => shown.beside.indexOf(shown.id);
  const earlier = named("earlier", iconButton("earlier", "Earlier version", () => choose(shown.beside[place() - 1])));
  const later = named("later", iconButton("later", "Later version", () => choose(shown.beside[place() + 1])));
  const count = element("span", { class: "count" });
  const node = element("span", { class: "steps", role: "group", "aria-label": "Versions" }, earlier, count, later);

  function update(turn) {
    shown = turn;
    node.hidden = !(turn.beside?.length > 1) || turn.status === "streaming";
    if (node.hidden) return;
    count.textContent = `${place() + 1}/${turn.beside.length}`;
    earlier.disabled = place() === 0;
    later.disabled = place() === turn.beside.length - 1;
  }
  return { node, update };
}

function copyButton(textOf) {
  const button = named("copy", iconButton("copy", "Copy", copy));

  async function copy() {
    await copyText(textOf());
    say("Copied", "check");
    setTimeout(() => say("Copy", "copy"), COPIED_MS);
  }

  function say(label, picture) {
    button.setAttribute("aria-label", (button.title = label));
    button.querySelector("use").setAttribute("href", `#icon-${picture}`);
  }
  return button;
}

/** Where one writes something else instead; `show(isOpen, foot, text)` puts it before `foot`, or takes it away. */
function makeEditor(tag, label, saveLabel, save, cancel) {
  const input = element(tag, { dir: "auto", enterkeyhint: "done", autocomplete: "off" });
  const buttons = [element("button", { class: "text-button" }, saveLabel), textButton("Cancel", cancel)];
  const form = element("form", { class: "editor" }, element("label", {}, label, input), ...buttons);
  form.addEventListener("submit", (submit) => {
    submit.preventDefault();
    save(input.value.trim());
  });
  form.addEventListener("keydown", pressed);

  function pressed(press) {
    if (isComposing(press)) return;
    if (press.key === "Escape") cancel();
    else if (press.key === "Enter" && press.target === input && !press.shiftKey) form.requestSubmit();
    else return;
    press.preventDefault();
    press.stopPropagation();
  }

  function show(isOpen, foot, text) {
    isOpen ? foot.before(form) : form.remove();
    input.value = text;
  }
  return { form, input, show };
}

/** A control keeps its focus by its name when another turn takes the place of its own. */
function named(name, control) {
  control.dataset.name = name;
  return control;
}

export const speaker = (words) => element("span", { class: "unseen" }, words);

export function typingSign() {
  const dots = [1, 2, 3].map(() => element("span"));
  return element("p", { class: "typing", role: "img", "aria-label": "typing" }, ...dots);
}
