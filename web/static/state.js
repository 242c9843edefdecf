// Everything the page shows, as one value, and the one function that changes it. What is live, what was missed while away
// and what a reload brings all come through here, so all three look the same.
import { afterReconnect, applyDelta, applyEvent, applySync, unread } from "./conversation.js";

export const initial = {
  name: "", // what the chatbot is called; the server says it
  link: "connecting", // connecting | online | lost; refused: this site may not
  locked: null, // why the server wants a key: a sentence, empty where none was given yet; null: it wants none
  limits: { message_characters: 4000 },
  conversations: [], // newest first
  listed: false,
  next: null, // where the conversations go on that are not listed yet; null: all are
  deleting: [], // ids of those that are hidden already, and deleted unless that is undone
  search: { words: "", found: new Map() }, // conversation_id -> where the words were said in it
  learn: undefined, // whether the bot may learn from conversations where nobody chooses; the server says it
  choice: undefined, // the same, chosen for the conversation not begun yet
  logs: new Map(), // conversation_id -> log; only of conversations that were opened here
  open: null, // conversation_id; null is a conversation not begun yet
  outbox: [], // messages not acknowledged yet
  alert: null, // one sentence for the person
};

const steps = {
  link: (state, link) => ({ ...state, link }),
  locked: (state, locked) => ({ ...state, locked, alert: null }),
  alert: (state, alert) => ({ ...state, alert }),
  outbox: (state, outbox) => ({ ...state, outbox }),
  choice: (state, choice) => ({ ...state, choice }),
  deleting: (state, deleting) => ({ ...state, deleting }),
  search: (state, search) => ({ ...state, search }),
  ready: (state, { name, limits, learn }) =>
    ({ ...state, name, limits, learn, link: "online", locked: null, alert: null, logs: mapValues(state.logs, afterReconnect) }),
  listed: (state, { conversations, next }) => ({ ...state, conversations, next, listed: true }),
  listedMore: (state, { conversations, next }) => {
    const known = new Set(state.conversations.map(({ conversation_id }) => conversation_id));
    const more = conversations.filter(({ conversation_id }) => !known.has(conversation_id));
    return { ...state, conversations: [...state.conversations, ...more], next };
  },
  opened: (state, id) =>
    ({ ...state, open: id, alert: null, choice: undefined, logs: id && !state.logs.has(id) ? withLog(state, id, unread) : state.logs }),
  synced: (state, answer) => changeLog(state, answer, applySync),
  delta: (state, delta) => changeLog(state, delta, applyDelta),
  event: (state, event) => changeLog(noteInList(state, event), event, applyEvent),
  notice: (state, { type, conversation }) => notices[type]?.(state, conversation) ?? state,
};

const notices = {
  "conversation.created": (state, conversation) =>
    ({ ...state, conversations: [conversation, ...without(state.conversations, conversation)] }),
  "conversation.renamed": (state, conversation) => changeListed(state, conversation, { title: conversation.title }),
  "conversation.learning": (state, conversation) => changeListed(state, conversation, { learn: conversation.learn }),
  "user.deleted": (state) => ({ ...state, link: "lost", conversations: [], logs: new Map() }),
  "conversation.deleted": (state, conversation) => ({
    ...state,
    conversations: without(state.conversations, conversation),
    logs: new Map([...state.logs].filter(([id]) => id !== conversation.conversation_id)),
  }),
};

/** The conversations that are listed: none that is about to be deleted, and of a search those that have the words. */
export function listedOf({ conversations, deleting, search: { words, found } }) {
  const kept = conversations.filter(({ conversation_id }) => !deleting.includes(conversation_id));
  const inTitle = ({ title }) => title?.toLowerCase().includes(words.toLowerCase());
  return words ? kept.filter((one) => found.has(one.conversation_id) || inTitle(one)) : kept;
}

export const reduce = (state, kind, payload) => steps[kind](state, payload);

function noteInList(state, { type, conversation_id, data }) {
  if (type === "conversation.renamed") return changeListed(state, { conversation_id }, { title: data.title });
  if (type === "conversation.learning") return changeListed(state, { conversation_id }, { learn: data.learn });
  const found = state.conversations.find((listed) => listed.conversation_id === conversation_id);
  if (type !== "message.created" || !found) return state;
  return { ...state, conversations: [found, ...without(state.conversations, found)] };
}

function changeLog(state, payload, apply) {
  const log = state.logs.get(payload.conversation_id);
  return log ? { ...state, logs: withLog(state, payload.conversation_id, apply(log, payload)) } : state;
}

const withLog = (state, id, log) => new Map(state.logs).set(id, log);

const changeListed = (state, { conversation_id }, change) => ({
  ...state,
  conversations: state.conversations.map((listed) =>
    listed.conversation_id === conversation_id ? { ...listed, ...change } : listed),
});

const without = (conversations, { conversation_id }) =>
  conversations.filter((listed) => listed.conversation_id !== conversation_id);

const mapValues = (map, change) => new Map([...map].map(([key, value]) => [key, change(value)]));
