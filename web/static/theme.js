// Before the first paint, and so not a module.
try {
  document.documentElement.dataset.theme = localStorage.getItem("chatbot.theme") ?? "system";
} catch {
  document.documentElement.dataset.theme = "system"; // a browser that keeps nothing for this site
}
