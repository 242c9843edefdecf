// Before the first paint, and so not a module.
document.documentElement.dataset.theme = localStorage.getItem("chatbot.theme") ?? "system";
