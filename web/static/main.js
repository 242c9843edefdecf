// Wires the page: what happens goes into the state, the state goes onto the page, and a few things follow from it.
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { asText, leafBelow } from "./conversation.js";
import { Deletions } from "./deletions.js";
import { askFirst, isComposing, saveAs } from "./elements.js";
import { LogView } from "./log.js";
import { Panel } from "./panel.js";
import { sentenceFor } from "./sentences.js";
import { makeSettings } from "./settings.js";
import { Sidebar, titleOf } from "./sidebar.js";
import { turnView } from "./turn.js";

const $ = (id) => document.getElementById(id);
const links = { connecting: "Connecting…", online: "Connected", lost: "Reconnecting…", locked: "Key needed" };

// --- what a person can do

const LISTING = new Set(["opened", "search", "listed", "listedMore"]); // after which more may have to be listed

const actions = {
  listMore: () => listMore(),
  say: (text) => say(text, { learn: chat.state.choice }),
  edit: (message, text) => say(text, { edits: message.id }),
  editLast: () => logView.editLast(),
  retry: (message) => chat.outbox.retry(message.client_msg_id),
  stop: () => chat.stop(),
  regenerate: (reply) => chat.regenerate(reply),
  choose: (id) => chat.ask("reply.choose", { conversation_id: chat.state.open, reply_id: leafBelow(chat.log, id) }),
  explain: (reply) => panel.explain(reply),
  rate: (reply, rating, better_text = null) =>
    chat.ask("feedback.set", { conversation_id: chat.state.open, reply_id: reply.id, rating, better_text }),
  rename: (conversation_id, title) => chat.ask("conversation.rename", { conversation_id, title }),
  remove: (conversation_id) => deletions.add(conversation_id),
  undoRemove(conversation_id) {
    deletions.undo(conversation_id);
    show(conversation_id);
  },
  async search(words) {
    chat.dispatch("search", { words, found: chat.state.search.found });
    const { found } = (words && (await chat.ask("conversation.search", { text: words }))) || { found: [] };
    if (words !== chat.state.search.words) return; // another one has begun since
    chat.dispatch("search", { words, found: new Map(found.map(({ conversation_id, excerpt }) => [conversation_id, excerpt])) });
  },
  erase: () => chat.ask("user.delete"),
  learn(conversation_id, learn) {
    if (conversation_id) return chat.ask("conversation.set_learning", { conversation_id, learn });
    chat.outbox.choose(learn);
    chat.dispatch("choice", learn);
  },
  saveText: () => saveAs("conversation.txt", new Blob([asText(chat.log, chat.state.name)], { type: "text/plain" })),
  async save(name, id) {
    try {
      saveAs(name, await chat.connection.export(id));
    } catch (error) {
      chat.dispatch("alert", error);
    }
  },
  takeBack(message) {
    chat.outbox.remove(message.client_msg_id);
    composer.takeBack(message.text);
  },
};

function say(text, how) {
  logView.follow();
  chat.outbox.add(chat.state.open, text, how);
}

// --- which conversation is open: the part of the address behind the #

const addressed = () => location.hash.slice(1) || null;

function openAddressed() {
  const id = addressed();
  if (matchMedia("(hover: hover)").matches) composer.focus();
  if (id !== chat.state.open) chat.dispatch("opened", id);
}

function show(id) {
  history.replaceState(null, "", id ? `#${id}` : location.pathname);
  openAddressed();
}

// --- what follows from what happened

async function followed(kind, payload) {
  const { open, deleting } = chat.state;
  if (kind === "ready") {
    chat.dispatch("listed", (await chat.ask("conversation.list")) ?? chat.state);
    deletions.send();
  }
  if (LISTING.has(kind) && isMissing(chat.state)) listMore();
  if (kind === "notice" && payload.type === "user.deleted") deletions.clear();
  if (open && deleting.includes(open)) close(open);
}

/** Whether what is not listed yet is looked for: a search is in titles, too, and the open conversation has one. */
const isMissing = ({ next, search, open, conversations }) =>
  next && (search.words || (open && !conversations.some(({ conversation_id }) => conversation_id === open)));

let isListing = false;

async function listMore() {
  if (isListing || !chat.state.next) return;
  isListing = true;
  const page = await chat.ask("conversation.list", { after: chat.state.next });
  isListing = false;
  if (page) chat.dispatch("listedMore", page);
}

/** Unless another one is about to be opened already. */
function close(id) {
  const isOpen = addressed() === id;
  if (isOpen) show(null);
  return isOpen;
}

// --- the page

function render() {
  const { state, log, turns } = chat;
  const conversation = state.conversations.find(({ conversation_id }) => conversation_id === state.open);
  const title = state.open ? titleOf(conversation) : "New conversation";
  $("title").textContent = title;
  if (state.name) nameWindow(state.open ? `${title} · ${state.name}` : state.name);
  $("log").setAttribute("aria-busy", String(Boolean(log?.more)));
  $("welcome").hidden = turns.length > 0 || Boolean(log?.more) || state.locked !== null;
  $("save").hidden = turns.length === 0 || !state.open;
  renderLock(state.locked);
  logView.show(state.open, turns);
  sidebar.show(state);
  panel.show(state.open, chat.path, state.link === "online", state.name);
  composer.show({ replying: chat.isReplying, limit: state.limits.message_characters });
  renderLearning(mayLearn(conversation));
  renderLink(state.locked === null ? state.link : "locked");
  $("alert").hidden = !state.alert;
  if (state.alert) $("alert-text").textContent = sentenceFor(state.alert);
}

function nameWindow(name) {
  if (document.title !== name) document.title = name; // setting it makes some browsers fetch the icon again
}

/** Undefined until it is known. */
function mayLearn(conversation) {
  const { open, choice, learn } = chat.state;
  return open ? conversation?.learn : (choice ?? learn);
}

function renderLearning(learn) {
  const button = $("learning");
  const sentence = learn ? `${chat.state.name} may learn from this conversation` : "Stored, not learned from";
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
    showDrawer($("menu").checkVisibility()); // where there is one
    sidebar.focusSearch();
  },
  "/": () => $("settings").showModal(),
  "I": () => panel.toggle(),
  "O": () => begin(),
};

function pressed(press) {
  const act = (press.ctrlKey || press.metaKey) && !press.altKey && withControl[press.key.toUpperCase()];
  if (isComposing(press)) return;
  if (press.key === "Escape") return escaped();
  if (!act || press.shiftKey !== (press.key.toUpperCase() === "O") || document.querySelector("dialog[open]")) return;
  press.preventDefault();
  act();
}

function escaped() {
  if (document.querySelector("dialog[open], :popover-open")) return; // which it closes
  if (document.body.classList.contains("drawer-open")) showDrawer(false);
  else if (panel.isOpen && (panel.hasFocus || !chat.isReplying)) panel.close();
  else if (chat.isReplying) actions.stop();
}

function begin() {
  showDrawer(false);
  show(null);
  composer.focus();
}

const chat = new Chat(location.origin, { draw: render, followed, begun: show, close });
const logView = new LogView($("log"), $("scroller"), $("to-end"), (turn) => turnView(turn, actions, chat.state.name));
const sidebar = new Sidebar(
  { list: $("conversations"), search: $("search"), empty: $("no-conversations"), undo: $("undo") }, actions);
const composer = new Composer($("composer"), actions);
const panel = new Panel($("panel"), $("look"), chat.connection, logView);
const deletions = new Deletions(chat, chat.connection);

$("menu").addEventListener("click", () => showDrawer(true));
$("shade").addEventListener("click", () => showDrawer(false));
$("sidebar").addEventListener("click", ({ target }) => target.closest("a") && showDrawer(false));
for (const name of ["pointermove", "focusin"]) {
  $("log").addEventListener(name, ({ target }) => panel.point(target.closest("[data-turn]")?.dataset.turn));
}
$("alert-close").addEventListener("click", () => chat.dispatch("alert", null));
$("save-text").addEventListener("click", () => actions.saveText());
$("save-jsonl").addEventListener("click", () => actions.save("conversation.jsonl", chat.state.open));
$("download").addEventListener("click", () => actions.save("conversations.jsonl"));
$("open-settings").addEventListener("click", () => $("settings").showModal());
$("lock").addEventListener("submit", (submit) => {
  submit.preventDefault();
  chat.connection.unlock($("key").value.trim());
});
$("erase").addEventListener("click", () => askFirst($("erase-all"), actions.erase));
$("learning").addEventListener("click", ({ currentTarget }) =>
  actions.learn(chat.state.open, currentTarget.getAttribute("aria-checked") === "false"));
$("suggestions").addEventListener("click", ({ target }) => target.matches("button") && actions.say(target.textContent));
addEventListener("keydown", pressed);
makeSettings($("settings"));
addEventListener("hashchange", openAddressed);
openAddressed();
