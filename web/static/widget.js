// The chat in any site, by one tag:
//     <script type="module" src="https://bot.example/static/widget.js" data-title="Ask us" data-accent="#7a3cc2"></script>
// A button in the corner opens it. All of it lies in a shadow tree, which no style of the site reaches; it talks with the
// server that this file comes from, and connects when it is first opened.
import { element, isComposing } from "./elements.js";
import { ofTab } from "./storage.js";
import { WidgetChat, drawing } from "./widget_chat.js";

const OPEN = "chatbot.widget.open"; // in this tab, from page to page
const phone = matchMedia("(max-width: 30rem), (max-height: 26rem)"); // as in widget.css

const tag = [...document.scripts].find(({ src }) => src === import.meta.url);
const { title, accent } = tag?.dataset ?? {};
const launcher = element("button", { class: "launcher", "aria-label": title ?? "Chat", "aria-expanded": "false" }, drawing("face"), drawing("fold"));
const dialog = element("dialog", { class: "chat" });
const chat = new WidgetChat(dialog, new URL(import.meta.url).origin, title);
const widget = element("div", { class: "widget", lang: "en" }, launcher, dialog);

launcher.addEventListener("click", () => (dialog.open ? dialog.close() : open()));
dialog.addEventListener("keydown", (press) => press.key === "Escape" && !isComposing(press) && !chat.isAsking && dialog.close());
dialog.addEventListener("close", closed);
if (accent && CSS.supports("color", accent)) {
  widget.classList.add("coloured");
  widget.style.setProperty("--accent", accent);
}
await place();
if (ofTab.getItem(OPEN) && !phone.matches) show(() => (dialog.open = true)); // which takes the focus from nobody

function open() {
  show(() => (phone.matches ? dialog.showModal() : dialog.show()));
  chat.focus();
}

function show(how) {
  how();
  launcher.setAttribute("aria-expanded", "true");
  ofTab.setItem(OPEN, "yes");
  chat.connect();
}

function closed({ target }) {
  if (target !== dialog) return; // but the question in it
  launcher.setAttribute("aria-expanded", "false");
  ofTab.removeItem(OPEN);
  launcher.focus();
}

/** Beside the body: whatever moves, dims or replaces that leaves the widget alone. The keys pressed in it are its own. */
async function place() {
  const host = element("chatbot-widget");
  const root = host.attachShadow({ mode: "open" });
  root.adoptedStyleSheets = await Promise.all(["colours.css", "widget.css"].map(styleSheet));
  for (const name of ["keydown", "keypress", "keyup"]) root.addEventListener(name, (press) => press.stopPropagation());
  root.append(widget);
  document.documentElement.append(host);
}

async function styleSheet(name) {
  const answer = await fetch(new URL(name, import.meta.url));
  return new CSSStyleSheet().replace(await answer.text());
}
