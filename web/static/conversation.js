// One conversation as the page knows it: a fold over its events. Knows no socket and no page; every function is pure.
//
// A log holds the turns as a tree (`parent_id`), and says how far it has come:
//   seq     the last event folded in; events are numbered without a gap, so a jump means that some were missed
//   heard   the highest event number heard of
//   stale   what streams may be out of date (just connected, or a delta was missed)
//   more    the server has further pages

export const unread = { turns: new Map(), newest: null, seq: 0, heard: 0, stale: false, more: true };

export const isBehind = (log) => log.more || log.stale || log.heard > log.seq;

export function activePath(log) {
  const path = [];
  for (let turn = log.turns.get(log.newest); turn; turn = log.turns.get(turn.parent_id)) path.push(turn);
  return path.reverse();
}

export const replying = (log) => activePath(log).at(-1)?.status === "streaming";

const changes = {
  "message.created": (log, { message_id, ...data }) =>
    withNewTurn(log, { ...data, id: message_id, role: "user", status: "completed" }),
  "reply.started": (log, { reply_id, ...data }) =>
    withNewTurn(log, { ...data, id: reply_id, role: "bot", status: "streaming", text: "", next: 0, rating: 0 }),
  "reply.completed": (log, { reply_id, ...data }) => withTurn(log, reply_id, data),
  "feedback.set": (log, { reply_id, rating, better_text }) => withTurn(log, reply_id, { rating, better_text }),
};

/** A durable event. One that is known already changes nothing; one that is too far ahead is only heard of. */
export function applyEvent(log, { seq, type, data }) {
  if (seq <= log.seq) return log;
  if (seq > log.seq + 1) return { ...log, heard: Math.max(log.heard, seq) };
  return { ...(changes[type]?.(log, data) ?? log), seq };
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
  const caughtUp = events.reduce(applyEvent, log);
  const heard = events.length ? caughtUp.heard : caughtUp.seq;
  return { ...partial.reduce(applyPartial, caughtUp), heard, more, stale: false };
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

const withNewTurn = (log, turn) => ({ ...withTurn(log, turn.id, turn), newest: turn.id });

const withTurn = (log, id, change) =>
  ({ ...log, turns: new Map(log.turns).set(id, { ...log.turns.get(id), ...change }) });
