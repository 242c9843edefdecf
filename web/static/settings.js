// The dialog of what is this browser's own: how the page looks, what keys do, and one's data.

import { lasting } from "./storage.js";

const KEY = "chatbot.theme"; // system | light | dark; read by theme.js as well
const root = document.documentElement;

/** Makes the dialog work and the page follow the choice, in whatever tab it is made. */
export function makeSettings(dialog) {
  dialog.addEventListener("change", ({ target }) => choose(target.value));
  addEventListener("storage", ({ key, newValue }) => key === KEY && show(dialog, newValue ?? "system"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paintFrame);
  if (/Mac|iPhone|iPad/.test(navigator.platform)) for (const key of dialog.querySelectorAll("[data-ctrl]")) key.textContent = "⌘";
  show(dialog, root.dataset.theme);

  function choose(theme) {
    lasting.setItem(KEY, theme);
    show(dialog, theme);
  }
}

function show(dialog, theme) {
  root.dataset.theme = theme;
  for (const choice of dialog.querySelectorAll("[name=theme]")) choice.checked = choice.value === theme;
  paintFrame();
}

/** A phone paints its own bars in the page's colour. */
function paintFrame() {
  const colour = getComputedStyle(document.body).backgroundColor;
  for (const meta of document.querySelectorAll("meta[name=theme-color]")) meta.content = colour;
}
