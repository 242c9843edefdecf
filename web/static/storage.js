// What the browser keeps for this site: `lasting` for every tab and visit, `ofTab` until the tab is closed. A browser may
// refuse to keep anything (all site data blocked); then both last as long as the page.

class Memory {
  #kept = new Map();

  getItem(key) {
    return this.#kept.get(key) ?? null;
  }

  setItem(key, value) {
    this.#kept.set(key, value);
  }

  removeItem(key) {
    this.#kept.delete(key);
  }
}

function storageOr(memory, name) {
  try {
    return window[name] ?? memory;
  } catch {
    return memory; // to ask is already an error
  }
}

export const lasting = storageOr(new Memory(), "localStorage");
export const ofTab = storageOr(new Memory(), "sessionStorage");
