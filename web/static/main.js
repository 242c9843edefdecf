// Wires the page: what happens goes into the state, the state goes onto the page, and a few things follow from it.
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { activePath, isBehind, replying } from "./conversation.js";
import { askFirst, saveAs } from "./elements.js";
import { LogView } from "./log.js";
import { Outbox } from "./outbox.js";
import { sentenceFor } from "./sentences.js";
import { Sidebar, titleOf } from "./sidebar.js";
import { initial, reduce } from "./state.js";

const $ = (id) => document.getElementById(id);
const links = { connecting: "Connecting…", online: "Connected", lost: "Reconnecting…" };

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
  say: (text) => outbox.add(store.state.open, text, store.state.choice),
  retry: (message) => outbox.retry(message.client_msg_id),
  stop: () => ask("reply.stop", { conversation_id: store.state.open, reply_id: openPath().at(-1).id }),
  regenerate: (reply) => ask("reply.regenerate", { conversation_id: store.state.open, reply_id: reply.id }),
  rate: (reply, rating, better_text = null) =>
    ask("feedback.set", { conversation_id: store.state.open, reply_id: reply.id, rating, better_text }),
  rename: (conversation_id, title) => ask("conversation.rename", { conversation_id, title }),
  remove: (conversation_id) => ask("conversation.delete", { conversation_id }),
  erase: () => ask("user.delete"),
  learn(conversation_id, learn) {
    if (conversation_id) return ask("conversation.set_learning", { conversation_id, learn });
    outbox.choose(learn);
    dispatch("choice", learn);
  },
  async download() {
    try {
      saveAs("conversations.jsonl", await connection.export());
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

function openAddressed() {
  const id = location.hash.slice(1) || null;
  if (matchMedia("(hover: hover)").matches) composer.focus();
  if (id !== store.state.open) dispatch("opened", id);
}

function show(id) {
  history.replaceState(null, "", id ? `#${id}` : location.pathname);
  openAddressed();
}

// --- what follows from what happened

async function follow(kind, payload) {
  const { open, logs, link } = store.state;
  if (kind === "ready") {
    dispatch("listed", (await ask("conversation.list")) ?? store.state);
    outbox.send();
  }
  if (kind === "notice" && payload.type === "user.deleted") outbox.clear();
  if (kind === "event" && payload.type === "reply.completed") outbox.send();
  if (open && !logs.has(open)) show(null);
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

function leave(id) {
  dispatch("notice", { type: "conversation.deleted", conversation: { conversation_id: id } });
  show(null);
  dispatch("alert", { code: "not_found" });
}

// --- the page

function openPath() {
  const { logs, open } = store.state;
  return logs.has(open) ? activePath(logs.get(open)) : [];
}

function shownTurns() {
  const path = openPath();
  const known = new Set(path.map((turn) => turn.client_msg_id));
  const waiting = store.state.outbox.filter(
    (message) => message.conversation_id === store.state.open && !known.has(message.client_msg_id));
  return [...path, ...waiting];
}

function render() {
  drawing = 0;
  const { state } = store;
  const turns = shownTurns();
  const log = state.logs.get(state.open);
  const conversation = state.conversations.find(({ conversation_id }) => conversation_id === state.open);
  const title = state.open ? titleOf(conversation) : "New conversation";
  $("title").textContent = title;
  nameWindow(state.open ? `${title} · Chatbot` : "Chatbot");
  $("log").setAttribute("aria-busy", String(Boolean(log?.more)));
  $("welcome").hidden = turns.length > 0 || Boolean(log?.more);
  logView.show(state.open, turns);
  sidebar.show(state);
  composer.show({ replying: isReplying(), limit: state.limits.message_characters });
  renderLearning(mayLearn(conversation));
  renderLink(state.link);
  $("alert").hidden = !state.alert;
  if (state.alert) $("alert-text").textContent = sentenceFor(state.alert);
}

function nameWindow(name) {
  if (document.title !== name) document.title = name; // setting it makes some browsers fetch the icon again
}

function isReplying() {
  const log = store.state.logs.get(store.state.open);
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

const logView = new LogView($("log"), $("scroller"), $("to-end"), actions);
const sidebar = new Sidebar({ list: $("conversations"), empty: $("no-conversations"), dialog: $("delete") }, actions);
const composer = new Composer($("composer"), actions);
const connection = new Connection(store);
const outbox = new Outbox(store, connection, (id) => store.state.open === null && show(id));

$("menu").addEventListener("click", () => showDrawer(true));
$("shade").addEventListener("click", () => showDrawer(false));
$("sidebar").addEventListener("click", ({ target }) => target.closest("a") && showDrawer(false));
$("alert-close").addEventListener("click", () => dispatch("alert", null));
$("download").addEventListener("click", actions.download);
$("erase").addEventListener("click", () => askFirst($("erase-all"), actions.erase));
$("learning").addEventListener("click", ({ currentTarget }) =>
  actions.learn(store.state.open, currentTarget.getAttribute("aria-checked") === "false"));
$("suggestions").addEventListener("click", ({ target }) => target.matches("button") && actions.say(target.textContent));
addEventListener("keydown", ({ key }) => key === "Escape" && showDrawer(false));
addEventListener("hashchange", openAddressed);
openAddressed();
