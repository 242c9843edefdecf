// Making and arranging elements. Text goes in as text nodes only: nothing a person or the model wrote is ever parsed.

const SVG = "http://www.w3.org/2000/svg";

export const element = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);

/** The same in a picture. */
export const drawn = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A picture from the sheet of symbols in the page; decoration only, so the element around it needs a label. */
export function icon(name) {
  return drawn("svg", { class: "icon", "aria-hidden": "true" }, drawn("use", { href: `#icon-${name}` }));
}

export function iconButton(name, label, onClick) {
  const button = element("button", { type: "button", class: "icon-button", "aria-label": label, title: label }, icon(name));
  button.addEventListener("click", onClick);
  return button;
}

export function textButton(words, onClick) {
  const button = element("button", { type: "button", class: "text-button" }, words);
  button.addEventListener("click", onClick);
  return button;
}

/** Whether a key belongs to a word that is still being put together, as Japanese is. Safari tells of the Enter that ends
 *  one when it has ended, and marks it with this code only. */
export const isComposing = (press) => press.isComposing || press.keyCode === 229;

/** Asks by a modal dialog; `then` follows where it is closed by its button of the value "delete". */
export function askFirst(dialog, then) {
  dialog.returnValue = "";
  dialog.onclose = () => dialog.returnValue === "delete" && then();
  dialog.showModal();
}

/** Where there is no clipboard to write to (it needs a secure origin, which a server at home often is not), an element's
 *  selection is copied. */
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const focused = document.activeElement;
  const holder = element("textarea", { class: "unseen", "aria-hidden": "true" });
  holder.value = text;
  document.body.append(holder);
  holder.select();
  const copied = document.execCommand("copy");
  holder.remove();
  focused?.focus();
  if (!copied) throw new Error("The browser does not let this page copy.");
}

/** Hands `blob` to the person as a file. */
export function saveAs(name, blob) {
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // the browser may still be asking where to
}

/** Makes `children` the children of `parent`, in order, and leaves alone those in place: they keep focus and scroll. */
export function arrange(parent, children) {
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let place = parent.firstElementChild;
  for (const child of children) {
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
}
