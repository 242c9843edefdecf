// One conversation as the page knows it: a fold over its events. Knows no socket and no page; every exported function is pure.
//
// A log holds the turns as a tree (`parent_id`), of which the branch that ends in `leaf` is shown, and says how far it has come:
//   after   turn id (null: the beginning) -> the ids of what follows it, oldest first
//   seq     the last event folded in; events are numbered without a gap, so a jump means that some were missed
//   heard   the highest event number heard of
//   stale   what streams may be out of date (just connected, or a delta was missed)
//   more    the server has further pages
// A turn's `beside` has the ids of those in its place, itself among them, oldest first.

export const unread = { turns: new Map(), after: new Map(), leaf: null, seq: 0, heard: 0, stale: false, more: true };

export const isBehind = (log) => log.more || log.stale || log.heard > log.seq;

const paths = new WeakMap(); // log -> its path: a long one is asked for several times before it changes

export function activePath(log) {
  if (!paths.has(log)) paths.set(log, pathTo(log, log.leaf));
  return paths.get(log);
}

function pathTo(log, id) {
  const path = [];
  for (let turn = log.turns.get(id); turn; turn = log.turns.get(turn.parent_id)) path.push(turn);
  return path.reverse();
}

export const replying = (log) => activePath(log).at(-1)?.status === "streaming";

/** The reply in which the newest branch through a turn ends. */
export function leafBelow(log, id) {
  for (let next; (next = log.after.get(id)); ) id = next.at(-1);
  return id;
}

/** What was said on the way to the leaf, to read; `name` is what the chatbot is called. */
export function asText(log, name) {
  const speakers = { user: "You", bot: name };
  const said = activePath(log).filter(({ text }) => text);
  return said.map(({ role, text }) => `${speakers[role]}: ${text}\n`).join("\n");
}

// Each changes the log that it is given, which is the caller's own.
const changes = {
  "message.created": (log, { message_id, ...data }) =>
    addTurn(log, { ...data, id: message_id, role: "user", status: "completed" }),
  "reply.started": (log, { reply_id, ...data }) =>
    addTurn(log, { ...data, id: reply_id, role: "bot", status: "streaming", text: "", next: 0, rating: 0 }),
  "reply.completed": (log, { reply_id, ...data }) => changeTurn(log, reply_id, data),
  "reply.chosen": (log, { reply_id }) => (log.leaf = reply_id),
  "feedback.set": (log, { reply_id, rating, better_text }) => changeTurn(log, reply_id, { rating, better_text }),
};

function fold(log, { seq, type, data }) {
  if (seq <= log.seq) return;
  if (seq > log.seq + 1) return void (log.heard = Math.max(log.heard, seq));
  changes[type]?.(log, data);
  log.seq = seq;
}

function addTurn(log, turn) {
  const beside = [...(log.after.get(turn.parent_id) ?? []), turn.id];
  log.after.set(turn.parent_id, beside);
  log.turns.set(turn.id, turn);
  for (const id of beside) changeTurn(log, id, { beside });
  log.leaf = turn.id;
}

const changeTurn = (log, id, change) => log.turns.set(id, { ...log.turns.get(id), ...change });

const copyOf = (log) => ({ ...log, turns: new Map(log.turns), after: new Map(log.after) });

/** A durable event. One that is known already changes nothing; one that is too far ahead is only heard of. */
export function applyEvent(log, event) {
  if (event.seq <= log.seq) return log;
  const changed = copyOf(log);
  fold(changed, event);
  return changed;
}

/** A piece of a reply that streams. `index` counts from 0, so that nothing is shown twice or in the wrong place; 0 again
 *  is a new beginning, of another server's or of all the words so far. */
export function applyDelta(log, { reply_id, index, text }) {
  const reply = log.turns.get(reply_id);
  if (reply && (reply.status !== "streaming" || (index > 0 && index < reply.next))) return log;
  if (!reply || index > reply.next) return { ...log, stale: true };
  return withTurn(log, reply_id, { text: index === 0 ? text : reply.text + text, next: index + 1 });
}

/** The answer to `sync`: the events missed, and how far the replies that stream right now have come. */
export function applySync(log, { events, more, partial }) {
  const changed = copyOf(log);
  for (const event of events) fold(changed, event);
  const heard = events.length ? changed.heard : changed.seq;
  return { ...partial.reduce(applyPartial, changed), heard, more, stale: false };
}

function applyPartial(log, { reply_id, next_index, text }) {
  const reply = log.turns.get(reply_id);
  if (reply?.status !== "streaming" || next_index < reply.next) return log;
  return withTurn(log, reply_id, { text, next: next_index });
}

/** A connection is new: deltas may have been missed, and a restarted server counts them from 0 again. */
export function afterReconnect(log) {
  const restart = ([id, turn]) => [id, turn.status === "streaming" ? { ...turn, next: 0 } : turn];
  return { ...log, stale: true, turns: new Map([...log.turns].map(restart)) };
}

function withTurn(log, id, change) {
  const changed = { ...log, turns: new Map(log.turns) };
  changeTurn(changed, id, change);
  return changed;
}
