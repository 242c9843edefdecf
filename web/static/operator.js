// The operator's page: asks for figures again and again, shows them, and sends what the operator decides.
// Whatever people or the model wrote goes in as text nodes; nothing of it is ever parsed.
import { NAME, ask, tell } from "./asking.js";
import { arrange, askFirst, drawn, element } from "./elements.js";

const $ = (id) => document.getElementById(id);
const OFTEN = 2_000; // ms: what a retraining is doing
const SELDOM = 60_000; // ms: what adds up slowly
const ENDED = new Set(["none", "ended", "stopped", "failed"]);

let saying = 0;

function say(text, isFault = false) {
  $("said").replaceChildren(element("p", isFault ? { class: "fault" } : {}, text));
  clearTimeout(saying);
  if (!isFault) saying = setTimeout(() => $("said").replaceChildren(), 6_000);
}

/** Does it, says so, and looks again at what it changes; false where it did not work, and why is said. */
async function decide(name, body, done, ...again) {
  try {
    await tell(name, body);
    say(done);
    await Promise.all(again.map((look) => look()));
    return true;
  } catch (error) {
    say(error.message, true);
    return false;
  }
}

function confirm(title, text, yes, then) {
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = yes;
  askFirst($("confirm"), then);
}

/** Looks now and every `pause` ms while the page is seen; a look that fails is said once. Returns how to look now. */
function watch(name, show, pause) {
  let before = null;
  let failed = false;
  const look = async (afresh = false) => {
    try {
      const found = await ask(name);
      const text = JSON.stringify(found);
      if (afresh || text !== before) show(found); // what is the same is left alone, with its focus and its scroll
      before = text;
      if (failed) $("said").replaceChildren();
      failed = false;
    } catch (error) {
      if (!failed) say(error.message, true);
      failed = true;
    }
  };
  const again = async () => {
    if (!document.hidden) await look();
    setTimeout(again, pause);
  };
  again();
  document.addEventListener("visibilitychange", () => document.hidden || look());
  return look;
}

// --- figures

const count = (value) => value.toLocaleString("en");
const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);
const decimal = (value, digits = 1) => (typeof value === "number" ? value.toFixed(digits) : "–");
const moment = (iso) => (iso ? new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : "–");
const clock = (iso) => new Date(iso).toLocaleTimeString();
const total = (values) => values.reduce((sum, value) => sum + value, 0);

/** `heads` that begin with # are over numbers. A cell is text or an element. */
function table(heads, rows, nothing) {
  if (!rows.length) return element("p", { class: "nothing" }, nothing);
  const kinds = heads.map((head) => (head.startsWith("#") ? { class: "number" } : {}));
  const line = (tag, cells) => element("tr", {}, ...cells.map((cell, place) => element(tag, kinds[place], cell)));
  return element(
    "table", {},
    element("thead", {}, line("th", heads.map((head) => head.replace("#", "")))),
    element("tbody", {}, ...rows.map((cells) => line("td", cells))),
  );
}

function picture(label, ...shapes) {
  return drawn("svg", { viewBox: "0 0 300 100", preserveAspectRatio: "none", role: "img", "aria-label": label }, ...shapes);
}

function figure(caption, figures, svg, first, last) {
  return element(
    "figure", { class: "chart" },
    element("figcaption", {}, caption, element("strong", {}, figures)), svg,
    element("div", { class: "ends" }, element("span", {}, first), element("span", {}, last)),
  );
}

/** Bars by day; those of `down`, if there are any, hang from the ground line. */
function bars(caption, days, up, down = null) {
  const highest = Math.max(1, ...up, ...(down ?? []));
  const ground = down ? 50 : 100;
  const width = 300 / days.length;
  const shapes = days.flatMap((day, place) => {
    const bar = (value, kind) => {
      const height = (ground * value) / highest;
      const y = kind === "bar" ? ground - height : ground;
      const title = drawn("title", {}, `${day}: ${count(value)}`);
      return drawn("rect", { class: kind, x: place * width + 0.5, y, width: width - 1, height }, title);
    };
    return down ? [bar(up[place], "bar"), bar(down[place], "bar down")] : [bar(up[place], "bar")];
  });
  shapes.push(drawn("line", { class: "ground", x1: 0, x2: 300, y1: ground, y2: ground }));
  const figures = down ? `${count(total(up))} / ${count(total(down))}` : count(total(up));
  const label = `${caption}, the last ${days.length} days: ${figures}; at most ${count(highest)} a day`;
  return figure(caption, figures, picture(label, ...shapes), days[0], days.at(-1));
}

/** A line over target tokens, from the lowest value to the highest; it needs two points. */
function curve(caption, points, of) {
  const values = points.map(([, value]) => value);
  const low = Math.min(...values);
  const range = Math.max(...values) - low || 1;
  const place = ([x, value]) => `${((300 * x) / of).toFixed(1)},${(96 - (92 * (value - low)) / range).toFixed(1)}`;
  const label = `${caption}, from ${decimal(values[0], 2)} to ${decimal(values.at(-1), 2)}`;
  const line = drawn("polyline", { class: "line", points: points.map(place).join(" ") });
  const ground = drawn("line", { class: "ground", x1: 0, x2: 300, y1: 100, y2: 100 });
  return figure(caption, decimal(values.at(-1), 2), picture(label, ground, line), `${decimal(values[0], 2)} at first`, `${count(of)} tokens`);
}

// --- traffic and dullness

function showOverview({ days, checkpoints }) {
  const names = days.map(({ day }) => day);
  const of = (name) => days.map((day) => day[name]);
  $("charts").replaceChildren(
    bars("Conversations", names, of("conversations")),
    bars("Turns", names, of("turns")),
    bars("Thumbs up / down", names, of("thumbs_up"), of("thumbs_down")),
    bars("Better replies given", names, of("bettered")),
  );
  const rows = checkpoints.map((one) => [
    one.checkpoint, count(one.replies),
    ...["thumbs_up", "thumbs_down", "bettered"].flatMap((name) => [count(one[name]), percent(one[name] / one.replies)]),
  ]);
  $("opinions").replaceChildren(
    table(["Checkpoint", "#Replies", "#Thumbs up", "#share", "#Thumbs down", "#share", "#Bettered", "#share"], rows, "No replies yet."),
  );
}

function showDullness({ windows, oldest }) {
  const boards = windows.flatMap(({ window, checkpoints }) => {
    const rows = checkpoints.map((one) => [
      one.checkpoint, count(one.replies), percent(one.repeated), percent(one.dull), percent(one.retrieved), decimal(one.words), percent(one.unknown),
    ]);
    const board = element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `Dullness, the last ${window}` });
    const heads = ["Checkpoint", "#Replies", "#Repeated", "#Says nothing", "#Borrowed", "#Words a reply", "#Unknown words"];
    board.append(table(heads, rows, "Nothing was said."));
    return [element("h2", {}, `The last ${window}`), board];
  });
  $("boards").replaceChildren(...boards);
  $("bounded").textContent = oldest ? ` Of the last 5,000 turns, since ${moment(oldest)}.` : "";
}

// --- reviews

const shown = new Map(); // reply id -> its entry, which keeps what is being written in it

function showReviews({ reviews, to_review, private: others }) {
  const entries = reviews.map((review) => shown.get(review.reply_id) ?? entry(review));
  shown.clear();
  reviews.forEach((review, place) => shown.set(review.reply_id, entries[place]));
  arrange($("queue"), entries);
  const more = to_review > reviews.length ? ` The last ${reviews.length} are shown.` : "";
  const unseen = others ? ` ${count(others)} more in conversations that are not to be learned from; their text is nobody’s to read here.` : "";
  $("count").textContent = `${to_review ? `${count(to_review)} to review.` : "Nothing to review."}${more}${unseen}`;
}

function spoken({ speaker, text }, kind) {
  const who = speaker === "bot" ? `${NAME}: ` : "Person: ";
  return element("p", { class: kind, dir: "auto" }, element("span", { class: "who" }, who), text);
}

function entry({ reply_id, text, checkpoint, created_at, context }) {
  const field = element("textarea", { rows: "2", name: "better_text", required: "", id: `better-${reply_id}`, dir: "auto" });
  const leave = element("button", { type: "button", class: "button" }, "Leave out");
  const form = element(
    "form", {},
    element("label", { for: field.id }, "A better reply"), field,
    element("div", { class: "actions" }, element("button", { class: "button primary" }, "Save"), leave),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    settle(form, "better", { reply_id, better_text: field.value }, "Saved; the next retraining learns it.");
  });
  leave.addEventListener("click", () => settle(form, "leave-out", { reply_id }, "Left out."));
  return element(
    "li", {},
    ...context.map((turn) => spoken(turn, "before")), spoken({ speaker: "bot", text }, "disliked"),
    element("p", { class: "when" }, `${moment(created_at)} · ${checkpoint ?? "–"}`), form,
  );
}

async function settle(form, name, body, done) {
  for (const button of form.querySelectorAll("button")) button.disabled = true;
  await decide(name, body, done, lookAtReviews, lookAtOverview);
  for (const button of form.querySelectorAll("button")) button.disabled = false;
  if (!form.isConnected) ($("queue").querySelector("textarea") ?? $("reviews-title")).focus();
}

// --- training

const lines = new Map(); // run id -> its row of the table
let chosen = null; // the run shown in full; the newest one unless the operator says otherwise
let known = "";

function showRuns({ runs, child }) {
  const busy = !ENDED.has(child.state);
  $("retrain").disabled = busy;
  $("stop").hidden = !busy || child.state === "elsewhere";
  $("stop").disabled = child.state === "stopping";
  $("child").textContent = {
    running: "Retraining …", stopping: "Stopping …", stopped: "Stopped; “Retrain now” goes on with it.",
    failed: `The retraining failed: ${child.message}`, ended: "The retraining has ended.",
    elsewhere: "A retraining that this server did not start is running; it can be stopped where it was started.",
  }[child.state] ?? "";
  if (runs[0]?.status === "interrupted") $("child").append(" The last one was interrupted; “Retrain now” goes on with it, or begins anew where it was given other settings.");
  $("child").classList.toggle("fault", child.state === "failed");
  arrange($("runs").tBodies[0], runs.length ? runs.map(line) : [element("tr", {}, element("td", { colspan: "7" }, "No retraining yet."))]);
  const run = runs.find(({ id }) => id === chosen) ?? runs[0];
  for (const [id, row] of lines) row.querySelector("button").setAttribute("aria-pressed", String(id === run?.id));
  $("run").replaceChildren(...(run ? inFull(run) : []));
  const now = runs.map(({ id, status }) => id + status).join();
  if (known && known !== now) lookAtModels(); // a candidate, or a promotion
  known = now;
}

/** The row of a run: made once, so that its button keeps focus, and filled anew. */
function line(run) {
  if (!lines.has(run.id)) {
    const show = element("button", { type: "button", class: "button", "aria-label": `Show the run of ${moment(run.started_at)}` }, "Show");
    show.addEventListener("click", () => {
      chosen = run.id;
      lookAtRuns(true);
    });
    lines.set(run.id, element("tr", {}, ...Array.from({ length: 6 }, () => element("td")), element("td", {}, show)));
  }
  const row = lines.get(run.id);
  const { target_tokens: seen, of, curve: points = [] } = run.progress;
  const progress = of ? [element("progress", { value: seen, max: of, "aria-label": "Progress" }), `${Math.round((100 * seen) / of)} %`] : ["–"];
  const cells = [
    [moment(run.started_at)], [element("span", { class: "mark", "data-status": run.status }, run.status)],
    [run.parent], [run.checkpoint ?? "–"], progress, [decimal(points.at(-1)?.perplexity)],
  ];
  cells.forEach((content, place) => row.cells[place].replaceChildren(...content));
  return row;
}

function inFull({ started_at, status, updated_at, progress, report }) {
  const { step, target_tokens, of, seconds, curve: points = [] } = progress;
  const steps = of ? ` · step ${count(step)}, ${count(target_tokens)} of ${count(of)} target tokens, ${count(Math.round(seconds))} s` : "";
  const news = status === "running" ? ` · last heard of at ${clock(updated_at)}` : "";
  const found = [element("h2", {}, `The run of ${moment(started_at)}`), element("p", {}, `${status}${steps}${news}`)];
  if (points.length > 1) {
    const line = (name) => points.map((point) => [point.target_tokens, point[name]]);
    const curves = [curve("Perplexity, held out", line("perplexity"), of), curve("Training loss", line("training_loss"), of)];
    found.push(element("div", { class: "charts" }, ...curves));
  }
  if (report?.error) found.push(element("p", { class: "fault" }, report.error));
  if (report?.gate) found.push(...verdict(report.gate));
  return found;
}

function verdict({ passed, faults, figures }) {
  const rows = Object.entries(figures).map(([name, { live, candidate, low, high }]) => {
    const digits = name.includes("perplexity") ? 1 : 3;
    const interval = low === undefined ? "–" : `${decimal(low, digits)} – ${decimal(high, digits)}`;
    return [name.replaceAll("_", " "), decimal(live, digits), decimal(candidate, digits), interval];
  });
  const board = element("div", { class: "wide", tabindex: "-1" }, table(["Gate", "#Before", "#After", "#95 % interval"], rows, "No figures."));
  const said = passed ? element("p", {}, "The gate lets it pass.") : element("ul", {}, ...faults.map((fault) => element("li", {}, fault)));
  return [said, board];
}

// --- models

function showModels({ answering, live, checkpoints, promotions }) {
  $("answering").textContent = answering === live
    ? `${live} is live, and answers here.`
    : `${live} is live; ${answering} answers here: until it is taken over, or for good where this server was started with it.`;
  const rows = checkpoints.map((one) => {
    const marks = [one.checkpoint === live && "live", one.shipped && "shipped", !one.promoted_at && one.verdict].filter(Boolean);
    const button = element("button", { type: "button", class: "button", "aria-label": `Promote ${one.checkpoint}` }, "Promote");
    button.disabled = one.checkpoint === live;
    button.addEventListener("click", () => promote(one, live));
    const labels = element("span", {}, ...marks.map((mark) => element("span", { class: "mark", "data-status": mark }, mark)));
    return [one.checkpoint, button, labels, moment(one.promoted_at)];
  });
  $("checkpoints").replaceChildren(table(["Checkpoint", "", "", "Made live"], rows, ""));
  const made = promotions.map((one) => [moment(one.at), one.checkpoint, one.rollback ? "rolled back from" : "instead of", one.before]);
  $("promotions").replaceChildren(table(["When", "Live", "", "Before"], made, "Nothing yet."));
}

function promote({ checkpoint, verdict, parent, promoted_at }, live) {
  const rejected = verdict === "rejected" ? " The gate did not let it pass: see its run above." : "";
  const aside = !promoted_at && parent && parent !== live ? ` It comes from ${parent}, which is not live: what ${live} has learned since is not in it.` : "";
  const warning = rejected + aside;
  confirm(`Promote ${checkpoint}?`, `It answers within seconds, wherever this home’s live checkpoint does.${warning}`, "Promote", () =>
    decide("promote", { checkpoint }, `${checkpoint} is live.`, lookAtModels));
}

// --- what the operator can do

$("retrain").addEventListener("click", () =>
  decide("retrain", { promote: $("promote-if-passed").checked }, "The retraining has begun.", lookAtRuns));
$("stop").addEventListener("click", () => decide("stop", {}, "It stops once it has put its things down.", lookAtRuns));
$("rollback").addEventListener("click", () =>
  confirm("Roll back?", "The checkpoint that was live before the last promotion becomes live again.", "Roll back", () =>
    decide("rollback", {}, "Rolled back.", lookAtModels)));
$("sign-out").addEventListener("click", async () => {
  await tell("sign-out").catch(() => null);
  location.reload();
});

const lookAtOverview = watch("overview", showOverview, SELDOM);
watch("dullness", showDullness, SELDOM);
const lookAtReviews = watch("reviews", showReviews, SELDOM);
const lookAtModels = watch("models", showModels, SELDOM);
const lookAtRuns = watch("runs", showRuns, OFTEN);
