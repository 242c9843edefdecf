// What a person reads when something did not work: one sentence for each error code of the protocol, and for what a client
// finds out by itself.

const sentences = {
  unauthenticated: () => "This server does not know this browser any more, so it starts afresh.",
  forbidden: () => "This server does not allow that.",
  not_found: () => "That conversation does not exist any more.",
  invalid: ({ message }) => `The server could not accept that: ${message}`,
  too_large: () => "That message is too long. Shorten it and send it again.",
  rate_limited: (error) => `That was more than this server allows at once. It takes more ${soon(error)}.`,
  overloaded: (error) => `The server has its hands full. There may be room ${soon(error)}.`,
  busy: () => "A reply is still being written. Wait for its end, or stop it.",
  idempotency_conflict: () => "That message was sent before with another text. Send it as a new one.",
  draining: () => "The server is shutting down. Your message is kept and goes out when it is back.",
  internal: () => "Something went wrong on the server. Please try again.",
  offline: () => "There is no connection right now. Please try again in a moment.",
  refused: () => `This chatbot does not answer on ${location.origin} yet. Whoever runs it has to allow this site first.`,
  locked: () => "This chatbot asks for a key, so it cannot be used here.",
  timeout: () => "The server is taking long to answer. Please wait a moment.",
};

export const sentenceFor = (error) => (sentences[error.code] ?? sentences.internal)(error);

function soon({ retryAfter }) {
  const seconds = Math.ceil((retryAfter ?? 2000) / 1000);
  return seconds === 1 ? "in a second" : `in ${seconds} seconds`;
}
