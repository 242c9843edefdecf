// The page for judging: a turn, the reply that was given among its candidates, and two marks for each of them.
import { NAME, ask, tell } from "./asking.js";
import { element } from "./elements.js";

const $ = (id) => document.getElementById(id);
const MARKS = ["Sensible", "Specific"];
const KINDS = { given: "given", candidate: "other candidates" };

let replyId = null;
let rows = []; // of each reply its two checkboxes

function candidate(text, place) {
  const [sensible, specific] = MARKS.map(() => element("input", { type: "checkbox" }));
  sensible.addEventListener("change", () => sensible.checked || (specific.checked = false));
  specific.addEventListener("change", () => specific.checked && (sensible.checked = true));
  rows.push([sensible, specific]);
  const said = element("p", { dir: "auto", id: `candidate-${place}` }, text);
  const labels = rows.at(-1).map((field, which) => element("label", {}, field, ` ${MARKS[which]}`));
  return element("li", {}, said, element("fieldset", { "aria-labelledby": said.id }, ...labels));
}

function spoken({ speaker, text }) {
  const who = element("span", { class: "who" }, speaker === "bot" ? `${NAME}: ` : "Person: ");
  return element("p", { dir: "auto" }, who, text);
}

function show({ turn, left }) {
  replyId = turn?.reply_id ?? null;
  rows = [];
  $("judging").hidden = !turn;
  $("left").textContent = turn
    ? `${left.toLocaleString("en")} to judge among the last replies.`
    : "Nothing to judge: replies come here from conversations whose people let them be learned from.";
  if (!turn) return;
  $("before").replaceChildren(...turn.context.map(spoken));
  $("candidates").replaceChildren(...turn.candidates.map(candidate));
  rows[0][0].focus({ preventScroll: true });
  $("before").scrollIntoView({ block: "nearest" }); // where the last turn was saved further down
}

/** Does it and looks for the next turn; where that fails, says why, and the marks stay. */
async function goOn(first = async () => null) {
  const buttons = [...$("judging").querySelectorAll("button")];
  for (const button of buttons) button.disabled = true;
  try {
    await first();
    show(await ask("judging"));
    $("fault").textContent = "";
    if ($("found").open) await showFound();
  } catch (error) {
    $("fault").textContent = error.message;
    if ($("judging").hidden) $("left").textContent = error.message;
  }
  for (const button of buttons) button.disabled = false;
}

const percent = ({ value, low, high }) => `${Math.round(100 * value)}${low === null ? "" : ` (${Math.round(100 * low)}–${Math.round(100 * high)})`}`;

async function showFound() {
  const { systems } = await ask("judged");
  const line = (tag, cells) => element("tr", {}, ...cells.map((cell, place) => element(tag, place > 1 ? { class: "number" } : {}, cell)));
  const heads = ["Checkpoint", "Replies", "Contexts", "Judged", "Sensible", "Specific", "SSA"];
  const lines = systems.map((one) => [
    one.checkpoint, KINDS[one.kind], String(one.contexts), String(one.replies), ...[one.sensible, one.specific, one.ssa].map(percent),
  ]);
  const table = element("table", {}, element("thead", {}, line("th", heads)), element("tbody", {}, ...lines.map((cells) => line("td", cells))));
  $("systems").replaceChildren(lines.length ? table : element("p", { class: "nothing" }, "Nothing yet."));
}

$("judging").addEventListener("submit", (event) => {
  event.preventDefault();
  const marks = rows.map(([sensible, specific]) => ({ sensible: sensible.checked, specific: specific.checked }));
  const judged = { reply_id: replyId, marks };
  goOn(() => tell("judge", judged));
});
$("skip").addEventListener("click", () => goOn());
$("found").addEventListener("toggle", () => $("found").open && showFound().catch((error) => ($("systems").textContent = error.message)));
document.addEventListener("keydown", (press) => {
  const row = rows[Number(press.key) - 1];
  if (!row || press.ctrlKey || press.metaKey || press.altKey) return;
  const [sensible, specific] = row;
  const mark = (sensible.checked + specific.checked + 1) % 3; // nothing, sensible, specific too, nothing
  [sensible.checked, specific.checked] = [mark > 0, mark > 1];
  sensible.focus();
});

goOn();
