// What the operator's pages ask of the server, and what they tell it.

/** What the chatbot is called. */
export const NAME = document.querySelector("meta[name=application-name]").content;
const CSRF = document.querySelector("meta[name=csrf-token]").content;

async function request(name, options) {
  const answer = await fetch(`/operator/api/${name}`, options).catch(() => null);
  if (answer?.status === 401) location.reload(); // to the sign-in form
  const body = await answer?.json().catch(() => null);
  if (!answer?.ok || !body) throw new Error(body?.error?.message ?? "The server does not answer; this goes on once it does.");
  return body;
}

export const ask = (name) => request(name);

export const tell = (name, body = {}) =>
  request(name, { method: "POST", headers: { "Content-Type": "application/json", "X-CSRF-Token": CSRF }, body: JSON.stringify(body) });
