// What the panel draws: a dialogue's path, a reply's candidates, a turn's other decodings and the beam as a tree of words.
// Elements made of what the server answered; knows no connection.
import { drawn, element, icon, textButton } from "./elements.js";

const MOST = 200; // turns of a path that the server tells of
const RECENT = 24; // of which lines are drawn; of more of them one could follow none
const FEW = 24; // bars that fill the width; with fewer there is room for what comes
const REACH = 6; // of 100: how near to a point one must come
const AT_FIRST = 5; // candidates
const OUT = 0.05; // how far out of the map a point may be drawn
const NO_MAP = "This checkpoint has no map yet: “chatbot models map” makes one.";
const NO_POINTS = "What was said here is of another checkpoint, whose states have no place on this one’s map.";

const decimal = (value, digits = 2) => (typeof value === "number" ? value.toFixed(digits).replace("-", "−") : "–");
const movement = (moved) => (moved === null ? "where it begins" : `moved the state by ${decimal(moved)}`);

// --- the dialogue's path

/** Where the state stood after each turn. `name` is what the chatbot is called; `textOf(turn_id)` is what was said; `pointedAt(turn_id)` hears which turn one
 *  points at (null: none any more), `chosen(turn_id)` which one goes to. */
export class PathPicture {
  #points;
  #speakers;
  #spots; // what can be walked along by keys, one a point
  #bars;
  #told = element("p", { class: "told" });
  #textOf;
  #pointedAt;
  #chosen;

  constructor({ points, map }, name, textOf, pointedAt, chosen) {
    this.#points = points;
    this.#speakers = { user: "You", bot: name };
    this.#textOf = textOf;
    this.#pointedAt = pointedAt;
    this.#chosen = chosen;
    this.#spots = points.map((point, place) => spotOf(point, place < points.length - RECENT));
    this.#bars = barsOf(points);
    this.#bars.forEach((bar, place) => this.#makePointable(bar, place));
    this.#spots.forEach((spot, place) => this.#makeWalkable(spot, place));
    this.nodes = points.length ? this.#drawn(map) : [element("p", { class: "nothing" }, map ? NO_POINTS : NO_MAP)];
    this.#show(this.#points.length - 1);
  }

  #drawn({ density }) {
    const chart = mapOf(density, this.#points, this.#spots);
    chart.addEventListener("pointermove", (move) => this.#pointAt(this.#nearest(chart, move)));
    chart.addEventListener("pointerleave", () => this.#pointAt(-1));
    chart.addEventListener("click", (click) => this.#choose(this.#nearest(chart, click)));
    return [chart, this.#told, barChart(this.#bars), legend(this.#points.length, this.#speakers)];
  }

  /** Place of the point that is meant, of several that lie on each other the nearest; -1: none. */
  #nearest(chart, { clientX, clientY }) {
    const { x, y } = new DOMPoint(clientX, clientY).matrixTransform(chart.getScreenCTM().inverse());
    const distances = this.#points.map((point) => Math.hypot(onMap(point.x) - x, onMap(point.y) - y));
    const least = Math.min(...distances);
    return least < REACH ? distances.lastIndexOf(least) : -1;
  }

  point(turn_id) {
    this.#show(this.#placeOf(turn_id));
  }

  /** The turn whose point has the focus. */
  get focused() {
    return this.#points[this.#spots.indexOf(document.activeElement)]?.turn_id;
  }

  focus(turn_id) {
    this.#spots[this.#placeOf(turn_id)]?.focus();
  }

  #placeOf(turn_id) {
    return this.#points.findIndex((point) => point.turn_id === turn_id);
  }

  #makePointable(bar, place) {
    bar.addEventListener("pointerenter", () => this.#pointAt(place));
    bar.addEventListener("pointerleave", () => this.#pointAt(-1));
    bar.addEventListener("click", () => this.#choose(place));
  }

  #makeWalkable(spot, place) {
    const { turn_id, speaker, moved } = this.#points[place];
    spot.setAttribute("role", "button");
    spot.setAttribute("aria-label", `${this.#speakers[speaker]}: ${this.#textOf(turn_id)}; ${movement(moved)}`);
    spot.addEventListener("keydown", (press) => this.#pressed(press, place));
    spot.addEventListener("focus", () => this.#pointAt(place));
    spot.addEventListener("blur", () => this.#pointAt(-1));
  }

  #pressed(press, place) {
    const end = this.#spots.length - 1;
    const steps = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1, Home: 0, End: end };
    if (press.key === "Enter" || press.key === " ") this.#choose(place);
    else if (press.key in steps) this.#spots[Math.min(end, Math.max(0, steps[press.key]))].focus();
    else return;
    press.preventDefault();
  }

  #pointAt(place) {
    this.#show(place);
    this.#pointedAt(this.#points[place]?.turn_id ?? null);
  }

  #choose(place) {
    if (place < 0) return;
    this.#pointAt(place);
    this.#chosen(this.#points[place].turn_id);
  }

  #show(place) {
    if (place < 0) return;
    for (const marks of [this.#spots, this.#bars]) marks.forEach((mark, at) => mark.classList.toggle("current", at === place));
    this.#spots.forEach((spot, at) => spot.setAttribute("tabindex", at === place ? "0" : "-1"));
    const { turn_id, speaker, moved } = this.#points[place];
    const words = element("q", { dir: "auto" }, this.#textOf(turn_id));
    this.#told.replaceChildren(element("strong", {}, this.#speakers[speaker]), " ", words, " ", element("small", {}, movement(moved)));
  }
}

const onMap = (value) => 100 * Math.min(1 + OUT, Math.max(-OUT, value));

/** Differs by its shape and not by its colour only: square for a person, round for the chatbot. */
function spotOf({ speaker, x, y }, isLongAgo) {
  const [left, top] = [onMap(x), onMap(y)];
  const shape = speaker === "user"
    ? drawn("rect", { x: left - 1.5, y: top - 1.5, width: 3, height: 3 })
    : drawn("circle", { cx: left, cy: top, r: 1.8 });
  return drawn("g", { class: `spot ${speaker}${isLongAgo ? " ago" : ""}` }, drawn("circle", { class: "halo", cx: left, cy: top, r: 4 }), shape);
}

function mapOf(density, points, spots) {
  const recent = points.slice(-RECENT);
  const legs = recent.slice(1).map((point, place) => legOf(recent[place], point, (place + 1) / recent.length));
  const view = { class: "map", viewBox: "-6 -6 112 112", role: "group", "aria-label": "Map of the states" };
  const ground = drawn("rect", { class: "ground", x: -6, y: -6, width: 112, height: 112, rx: 4 });
  return drawn("svg", view, ground, shadesOf(density), ...legs, ...spots);
}

/** From one state to the next; the fainter, the longer ago. */
const legOf = (from, to, age) =>
  drawn("line", {
    class: "leg", x1: onMap(from.x), y1: onMap(from.y), x2: onMap(to.x), y2: onMap(to.y), "stroke-opacity": 0.2 + 0.7 * age,
  });

function shadesOf(density) {
  const side = 100 / density.length;
  const squares = density.flatMap((row, top) => row.map((share, left) => share > 0.01 && shade(share, left * side, top * side, side)));
  const soft = drawn("filter", { id: "soft" }, drawn("feGaussianBlur", { stdDeviation: side / 2 }));
  return drawn("g", { "aria-hidden": "true" }, soft, drawn("g", { class: "shades", filter: "url(#soft)" }, ...squares.filter(Boolean)));
}

const shade = (share, x, y, side) => drawn("rect", { x, y, width: side, height: side, "fill-opacity": share.toFixed(3) });

function barsOf(points) {
  const most = Math.max(...points.map(({ moved }) => moved ?? 0), Number.MIN_VALUE);
  return points.map(({ speaker, moved }, place) => {
    const height = Math.max(1, (28 * (moved ?? 0)) / most);
    const rise = drawn("rect", { class: "rise", x: place + 0.15, y: 30 - height, width: 0.7, height });
    return drawn("g", { class: `step ${speaker}` }, drawn("rect", { class: "reach", x: place, y: 0, width: 1, height: 30 }), rise);
  });
}

function barChart(bars) {
  const viewBox = `0 0 ${Math.max(FEW, bars.length)} 30`;
  return drawn("svg", { class: "bars", viewBox, preserveAspectRatio: "none", "aria-hidden": "true" }, ...bars); // the points say it
}

function legend(count, speakers) {
  const part = count < MOST ? [] : [element("span", {}, `The last ${count} turns`)];
  const sign = (speaker) => element("span", {}, element("span", { class: `sign ${speaker}` }), speakers[speaker]);
  return element("p", { class: "legend" }, sign("user"), sign("bot"), ...part, "Bars: how far a turn moved the state");
}

// --- why this reply

const SCORE = ["Score", ({ score }) => decimal(score),
  "What chose: the highest is said, unless somebody has said these very words before in this dialogue. It is made of the rest."];
const REPEATS = ["Repeats", ({ repetition }) => decimal(repetition),
  "How much of it was said before, or is said twice in it; this counts against it."];
const BY_SENSE = [
  SCORE,
  ["Sensible", ({ sensible }) => decimal(sensible),
    "How likely a reader would find that it makes sense here, as the chooser judges that, from 0 to 1."],
  ["Specific", ({ specific }) => decimal(specific),
    "How likely a reader would find that it fits this dialogue in particular, from 0 to 1."],
  REPEATS,
];
const BY_LIKELIHOOD = [
  SCORE,
  ["log p(y|s)", ({ log_probability }) => decimal(log_probability, 1),
    "How likely the words are after this dialogue, as a logarithm: the nearer to 0, the likelier."],
  ["log p(y)", ({ log_prior }) => decimal(log_prior || null, 1),
    "How likely they are whatever was said before. What can be said at any time says little, so this counts against it."],
  ["Relevance", ({ relevance }) => decimal(relevance),
    "How well the reply goes with the dialogue, as the model judges that."],
  REPEATS,
];
const SOURCES = { retrieved: "Someone’s words", written: "Written for it", shortened: "First sentence" };

/** `candidates` as of reply.explain, the best first: it is what was said. */
export function candidatesTable(candidates) {
  const columns = candidates.some(({ sensible }) => sensible != null) ? BY_SENSE : BY_LIKELIHOOD;
  const heads = columns.map(([head]) => element("th", { scope: "col" }, head));
  const bodies = candidates.map((candidate, place) => candidateRows(candidate, place, columns));
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...heads)), ...bodies.slice(0, AT_FIRST));
  const terms = columns.map(([head, , meaning]) => element("div", {}, element("dt", {}, head), element("dd", {}, meaning)));
  return [table, ...showAll(table, bodies), element("dl", { class: "terms" }, ...terms)];
}

function showAll(table, bodies) {
  if (bodies.length <= AT_FIRST) return [];
  const button = textButton(`All ${bodies.length} candidates`, () => {
    table.append(...bodies);
    button.remove();
    bodies[AT_FIRST].setAttribute("tabindex", "-1");
    bodies[AT_FIRST].focus(); // which was the button's
  });
  return [button];
}

/** Its words over its figures: so both have room on a phone. */
function candidateRows(candidate, place, columns) {
  const signs = [];
  if (place === 0) signs.push(element("small", { class: "chip" }, icon("check"), "Said"));
  const source = SOURCES[candidate.source];
  if (source) signs.push(element("small", { class: "chip borrowed" }, source));
  const words = element("th", { scope: "rowgroup", colspan: columns.length }, element("bdi", {}, candidate.text), " ", ...signs);
  const figures = columns.map(([, value]) => element("td", {}, value(candidate)));
  return element("tbody", place === 0 ? { class: "chosen" } : {}, element("tr", {}, words), element("tr", {}, ...figures));
}

// --- decoded another way

const WAYS = {
  greedy: "Likeliest word each time",
  beam: "Beam search",
  sample: "By chance",
  chosen: "Chosen among candidates",
  before: "By the checkpoint before",
};

export function variantsList(variants) {
  const said = variants.map(({ name, text }) =>
    element("div", {}, element("dt", {}, WAYS[name] ?? name), element("dd", { dir: "auto" }, text || "–")));
  return element("dl", { class: "ways" }, ...said);
}

/** The beam as lists within lists, a word each, its probability after those before it on the edge to it. `text` is what it
 *  said in the end. */
export function wordTree(tree, text) {
  const root = ordered(tree, bestPath(tree, text));
  const rows = rowsOf(root);
  const words = element("div", { class: "tree" }, placed(element("span", { class: "root" }), 1, 1), ...branches(root, 1, rows));
  return element("div", { class: "wide", role: "group", "aria-label": "The beam as a tree of words", tabindex: "0" }, words); // keys scroll it
}

/** The best way comes first, and so goes straight on. */
function ordered(node, best) {
  const children = [...node.children].sort((one, other) => best.has(other) - best.has(one));
  return { ...node, isBest: best.has(node), children: children.map((child) => ordered(child, best)) };
}

/** Node -> row: from every word the first that follows is in its row, and the others are below, as near as there is room. */
function rowsOf(node, depth = 0, free = [], rows = new Map()) {
  const way = [];
  for (let next = node; next; next = next.children[0]) way.push(next);
  const row = Math.max(...way.map((_, step) => free[depth + step] ?? 1));
  way.forEach((one, step) => rows.set(one, row) && (free[depth + step] = row + 1));
  for (const [step, one] of [...way.entries()].reverse()) {
    for (const child of one.children.slice(1)) rowsOf(child, depth + step + 1, free, rows);
  }
  return rows;
}

function branches(node, column, rows) {
  if (!node.children.length) return [];
  const stem = placed(element("span", { class: "stem" }), column + 1, `${rows.get(node)} / ${rows.get(node.children.at(-1)) + 1}`);
  return [stem, element("ul", {}, ...node.children.map((child) => branch(child, column + 1, rows)))];
}

/** No word: the end of what is said. */
function branch(node, column, rows) {
  const edge = element("span", { class: "edge" }, decimal(node.probability));
  edge.style.setProperty("--probability", node.probability);
  const word = node.word ? element("bdi", { class: "word" }, node.word) : element("span", { class: "end", role: "img", "aria-label": "end" });
  const cell = element("span", { class: node.children.length ? "cell on" : "cell" }, edge, word);
  return element("li", node.isBest ? { class: "best" } : {}, placed(cell, column, rows.get(node)), ...branches(node, column, rows));
}

function placed(cell, column, row) {
  cell.style.gridColumn = column;
  cell.style.gridRow = row;
  return cell;
}

/** The nodes on the way to `text`, by the likeliest of the ways that read so. */
function bestPath(tree, text) {
  const reads = ({ path }) => letters(path.map(({ word }) => word).join("")) === letters(text);
  const likeliest = endsOf(tree).filter(reads).sort((one, other) => other.probability - one.probability)[0];
  return new Set(likeliest?.path);
}

function endsOf(node, path = [], probability = 1) {
  if (!node.children.length) return [{ path, probability }];
  return node.children.flatMap((child) => endsOf(child, [...path, child], probability * child.probability));
}

/** The model's words lack the spaces and capitals that the text was given. */
const letters = (text) => text.toLowerCase().replace(/\s/g, "");
