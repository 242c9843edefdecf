// Wires the page: what happens goes into the state, the state goes onto the page, and a few things follow from it.
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { activePath, asText, isBehind, leafBelow, replying } from "./conversation.js";
import { Deletions } from "./deletions.js";
import { askFirst, saveAs } from "./elements.js";
import { LogView } from "./log.js";
import { Outbox } from "./outbox.js";
import { Panel } from "./panel.js";
import { sentenceFor } from "./sentences.js";
import { makeSettings } from "./settings.js";
import { Sidebar, titleOf } from "./sidebar.js";
import { initial, reduce } from "./state.js";

const $ = (id) => document.getElementById(id);
const links = { connecting: "Connecting…", online: "Connected", lost: "Reconnecting…", locked: "Key needed" };

const store = { state: initial, dispatch };
const FRAME = 16; // ms; not an animation frame, since a tab in the background gets none and would fall behind
let drawing = 0;

function dispatch(kind, payload) {
  store.state = reduce(store.state, kind, payload);
  drawing ||= setTimeout(render, FRAME);
  queueMicrotask(() => follow(kind, payload));
}

// --- what a person can do

const actions = {
  say: (text) => outbox.add(store.state.open, text, { learn: store.state.choice }),
  edit: (message, text) => outbox.add(store.state.open, text, { edits: message.id }),
  editLast: () => logView.editLast(),
  retry: (message) => outbox.retry(message.client_msg_id),
  stop: () => ask("reply.stop", { conversation_id: store.state.open, reply_id: openPath().at(-1).id }),
  regenerate: (reply) => ask("reply.regenerate", { conversation_id: store.state.open, reply_id: reply.id }),
  choose: (id) => ask("reply.choose", { conversation_id: store.state.open, reply_id: leafBelow(openLog(), id) }),
  explain: (reply) => panel.explain(reply),
  rate: (reply, rating, better_text = null) =>
    ask("feedback.set", { conversation_id: store.state.open, reply_id: reply.id, rating, better_text }),
  rename: (conversation_id, title) => ask("conversation.rename", { conversation_id, title }),
  remove: (conversation_id) => deletions.add(conversation_id),
  undoRemove(conversation_id) {
    deletions.undo(conversation_id);
    show(conversation_id);
  },
  async search(words) {
    dispatch("search", { words, found: store.state.search.found });
    const { found } = (words && (await ask("conversation.search", { text: words }))) || { found: [] };
    if (words !== store.state.search.words) return; // another one has begun since
    dispatch("search", { words, found: new Map(found.map(({ conversation_id, excerpt }) => [conversation_id, excerpt])) });
  },
  erase: () => ask("user.delete"),
  learn(conversation_id, learn) {
    if (conversation_id) return ask("conversation.set_learning", { conversation_id, learn });
    outbox.choose(learn);
    dispatch("choice", learn);
  },
  saveText: () => saveAs("conversation.txt", new Blob([asText(openLog())], { type: "text/plain" })),
  async save(name, id) {
    try {
      saveAs(name, await connection.export(id));
    } catch (error) {
      dispatch("alert", error);
    }
  },
  takeBack(message) {
    outbox.remove(message.client_msg_id);
    composer.takeBack(message.text);
  },
};

async function ask(name, payload) {
  try {
    return await connection.request(name, payload);
  } catch (error) {
    dispatch("alert", error);
  }
}

// --- which conversation is open: the part of the address behind the #

const addressed = () => location.hash.slice(1) || null;

function openAddressed() {
  const id = addressed();
  if (matchMedia("(hover: hover)").matches) composer.focus();
  if (id !== store.state.open) dispatch("opened", id);
}

function show(id) {
  history.replaceState(null, "", id ? `#${id}` : location.pathname);
  openAddressed();
}

// --- what follows from what happened

async function follow(kind, payload) {
  const { open, logs, link, deleting } = store.state;
  if (kind === "ready") {
    dispatch("listed", (await ask("conversation.list")) ?? store.state);
    outbox.send();
    deletions.send();
  }
  if (kind === "notice" && payload.type === "user.deleted") {
    outbox.clear();
    deletions.clear();
  }
  if (kind === "event" && payload.type === "reply.completed") outbox.send();
  if (open && (!logs.has(open) || deleting.includes(open))) close(open);
  else if (open && link === "online" && isBehind(logs.get(open))) catchUp(open);
}

async function catchUp(id) {
  try {
    await connection.catchUp(id);
  } catch (error) {
    if (error.code === "not_found" || error.code === "invalid") return leave(id);
    if (error.code === "offline") return; // the next `ready` asks again
    dispatch("alert", error);
    setTimeout(follow, error.retryAfter ?? 2_000);
  }
}

/** Unless another one is about to be opened already. */
function close(id) {
  const isOpen = addressed() === id;
  if (isOpen) show(null);
  return isOpen;
}

function leave(id) {
  dispatch("notice", { type: "conversation.deleted", conversation: { conversation_id: id } });
  if (close(id)) dispatch("alert", { code: "not_found" });
}

// --- the page

const openLog = () => store.state.logs.get(store.state.open);

const openPath = () => (openLog() ? activePath(openLog()) : []);

/** The open branch, then what waits to be sent; what is said instead of an earlier message takes its place. */
function shownTurns() {
  const waiting = store.state.outbox.filter(({ conversation_id }) => conversation_id === store.state.open);
  if (!waiting.length) return openPath();
  const known = new Set(openPath().map((turn) => turn.client_msg_id));
  return waiting.reduce((turns, message) => (known.has(message.client_msg_id) ? turns : said(turns, message)), openPath());
}

function said(turns, message) {
  const place = turns.findIndex(({ id }) => id && id === message.edits);
  return [...(place < 0 ? turns : turns.slice(0, place)), message];
}

function render() {
  drawing = 0;
  const { state } = store;
  const turns = shownTurns();
  const log = openLog();
  const conversation = state.conversations.find(({ conversation_id }) => conversation_id === state.open);
  const title = state.open ? titleOf(conversation) : "New conversation";
  $("title").textContent = title;
  nameWindow(state.open ? `${title} · Chatbot` : "Chatbot");
  $("log").setAttribute("aria-busy", String(Boolean(log?.more)));
  $("welcome").hidden = turns.length > 0 || Boolean(log?.more) || state.locked !== null;
  $("save").hidden = turns.length === 0 || !state.open;
  renderLock(state.locked);
  logView.show(state.open, turns);
  sidebar.show(state);
  panel.show(state.open, openPath(), state.link === "online");
  composer.show({ replying: isReplying(), limit: state.limits.message_characters });
  renderLearning(mayLearn(conversation));
  renderLink(state.locked === null ? state.link : "locked");
  $("alert").hidden = !state.alert;
  if (state.alert) $("alert-text").textContent = sentenceFor(state.alert);
}

function nameWindow(name) {
  if (document.title !== name) document.title = name; // setting it makes some browsers fetch the icon again
}

function isReplying() {
  const log = openLog();
  return store.state.link === "online" && Boolean(log) && replying(log);
}

/** Undefined until it is known. */
function mayLearn(conversation) {
  const { open, choice, learn } = store.state;
  return open ? conversation?.learn : (choice ?? learn);
}

function renderLearning(learn) {
  const button = $("learning");
  const sentence = learn ? "The bot may learn from this conversation" : "Stored, not learned from";
  button.hidden = learn === undefined;
  button.setAttribute("aria-checked", String(Boolean(learn)));
  if (button.textContent !== sentence) button.textContent = sentence;
}

function renderLock(locked) {
  const isNew = $("lock").hidden && locked !== null;
  $("lock").hidden = locked === null;
  if (isNew) $("key").focus();
  document.body.classList.toggle("locked", locked !== null);
  if ($("lock-reason").textContent !== locked) $("lock-reason").textContent = locked;
  $("key").toggleAttribute("aria-invalid", Boolean(locked));
}

function renderLink(link) {
  document.body.dataset.link = link;
  if ($("link-text").textContent !== links[link]) $("link-text").textContent = links[link];
}

// --- the drawer that holds the list on a narrow screen

function showDrawer(isOpen) {
  if (isOpen === document.body.classList.contains("drawer-open")) return;
  document.body.classList.toggle("drawer-open", isOpen);
  $("menu").setAttribute("aria-expanded", String(isOpen));
  (isOpen ? $("new") : $("menu")).focus();
}

// --- keys; they are listed in the settings

const withControl = {
  "K": () => {
    showDrawer(matchMedia("(max-width: 48rem)").matches);
    sidebar.focusSearch();
  },
  "/": () => $("settings").showModal(),
  "I": () => panel.toggle(),
  "O": () => begin(),
};

function pressed(press) {
  const act = (press.ctrlKey || press.metaKey) && !press.altKey && withControl[press.key.toUpperCase()];
  if (press.key === "Escape") return escaped();
  if (!act || press.shiftKey !== (press.key.toUpperCase() === "O") || document.querySelector("dialog[open]")) return;
  press.preventDefault();
  act();
}

function escaped() {
  if (document.querySelector("dialog[open], :popover-open")) return; // which it closes
  if (document.body.classList.contains("drawer-open")) showDrawer(false);
  else if (panel.isOpen && (panel.hasFocus || !isReplying())) panel.close();
  else if (isReplying()) actions.stop();
}

function begin() {
  showDrawer(false);
  show(null);
  composer.focus();
}

const logView = new LogView($("log"), $("scroller"), $("to-end"), actions);
const sidebar = new Sidebar(
  { list: $("conversations"), search: $("search"), empty: $("no-conversations"), undo: $("undo") }, actions);
const composer = new Composer($("composer"), actions);
const connection = new Connection(store);
const panel = new Panel($("panel"), $("look"), connection, logView);
const deletions = new Deletions(store, connection);
const outbox = new Outbox(store, connection, (id) => store.state.open === null && show(id));

$("menu").addEventListener("click", () => showDrawer(true));
$("shade").addEventListener("click", () => showDrawer(false));
$("sidebar").addEventListener("click", ({ target }) => target.closest("a") && showDrawer(false));
for (const name of ["pointermove", "focusin"]) {
  $("log").addEventListener(name, ({ target }) => panel.point(target.closest("[data-turn]")?.dataset.turn));
}
$("alert-close").addEventListener("click", () => dispatch("alert", null));
$("save-text").addEventListener("click", () => actions.saveText());
$("save-jsonl").addEventListener("click", () => actions.save("conversation.jsonl", store.state.open));
$("download").addEventListener("click", () => actions.save("conversations.jsonl"));
$("open-settings").addEventListener("click", () => $("settings").showModal());
$("lock").addEventListener("submit", (submit) => {
  submit.preventDefault();
  connection.unlock($("key").value.trim());
});
$("erase").addEventListener("click", () => askFirst($("erase-all"), actions.erase));
$("learning").addEventListener("click", ({ currentTarget }) =>
  actions.learn(store.state.open, currentTarget.getAttribute("aria-checked") === "false"));
$("suggestions").addEventListener("click", ({ target }) => target.matches("button") && actions.say(target.textContent));
addEventListener("keydown", pressed);
makeSettings($("settings"));
addEventListener("hashchange", openAddressed);
openAddressed();
