// The page: what the server holds as a list, one panel at a time beside it.

import { send, useKey } from "./api.js";
import { chatPanel } from "./chat.js";
import { askPanel, searchPanel } from "./documents.js";
import { element, freshId } from "./dom.js";
import { modelPanel } from "./models.js";
import { refusal } from "./panel.js";
import { taskOf } from "./tasks.js";

const nav = document.getElementById("nav");
const main = document.getElementById("main");

/** {link, title, make, panel}: panel once it was made, so that what was typed stays. */
let entries = [];

async function load() {
  try {
    entries = listed(await send("v1/models"));
  } catch (problem) {
    main.replaceChildren(problem.status === 401 ? keyForm(problem.message) : refusal(problem, load));
    return;
  }
  nav.replaceChildren(element("ul", {}, entries.map(({ link }) => element("li", {}, link))));
  if (entries.length === 0) main.replaceChildren(element("p", {}, "This server holds no models."));
  else show();
}

function listed({ models, indexes = [], assistant, explainers }) {
  const found = models.map((model) => entry(`model/${model.name}`, model.name, taskOf(model).title, () => modelPanel(model, explainers, askForKey)));
  for (const index of indexes) {
    found.push(entry(`search/${index.name}`, index.name, "Search", () => searchPanel(index, askForKey)));
    if (index.answers) found.push(entry(`ask/${index.name}`, index.name, "Questions", () => askPanel(index, askForKey)));
  }
  if (assistant) found.push(entry("chat", "Assistant", "Dialogue", () => chatPanel(askForKey)));
  return found;
}

function entry(address, title, kind, make) {
  const href = `#${address.split("/").map(encodeURIComponent).join("/")}`;
  const link = element("a", { href }, element("span", { class: "title" }, title), element("span", { class: "kind" }, kind));
  return { link, title, make, panel: null };
}

/** Show the entry that the address names, or the first one. */
function show() {
  const shown = entries.find(({ link }) => link.hash === location.hash) ?? entries[0];
  for (const { link } of entries) link.removeAttribute("aria-current");
  shown.link.setAttribute("aria-current", "page");
  shown.panel ??= shown.make();
  main.replaceChildren(shown.panel);
  // Along the strip of a phone only: the page itself stays where it is.
  nav.scrollLeft = shown.link.offsetLeft - nav.offsetLeft - nav.clientWidth / 4;
  document.title = `${shown.title} · bertsmith`;
}

/** A key, asked for over what is there, which stays as it is. */
function askForKey() {
  if (!main.querySelector(".key")) main.prepend(keyForm());
  main.querySelector(".key input").focus();
}

function keyForm(message = "") {
  const box = element("input", { type: "password", id: freshId(), required: true, pattern: "[!-~]+", autocomplete: "off" });
  const form = element(
    "form",
    { class: "key callout" },
    element("label", { for: box.id }, "This server wants a key"),
    message && element("p", {}, message),
    element("div", { class: "buttons" }, box, element("button", { class: "main" }, "Use it")),
    element("p", { class: "quiet" }, "It is kept in this tab alone, until you close it."),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(box.value);
    form.remove();
    if (entries.length === 0) load();
  });
  return form;
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => {
  if (entries.length === 0) return;
  show();
  main.querySelector("h1").focus();
});
load();
