// Why a model answers as it does: the words of a request on tints, how far that can be believed, and attention.
// Fetched when it is opened, for it takes many times as long as the answer.

import { send } from "./api.js";
import { heads, lines } from "./attention.js";
import { bars } from "./bars.js";
import { element, freshId } from "./dom.js";
import { marked } from "./marked.js";
import { count, counted, milliseconds, percent, signed } from "./numbers.js";
import { refusal } from "./panel.js";

/** What opens under an answer; `input` is what the model was asked, `explainers` are the server's. */
export function why(model, input, explainers) {
  const shown = element("div", { class: "details" });
  const explainer = element("select", { id: freshId() }, explainers.map(({ name }) => element("option", { value: name }, titled(name))));
  const target = element("input", { id: freshId(), placeholder: "what the model said", autocomplete: "off" });
  let asked = null;
  const ask = async () => {
    asked?.abort();
    const mine = (asked = new AbortController());
    shown.setAttribute("aria-busy", "true");
    const body = { input, explainer: explainer.value, ...(target.value && { target: target.value }) };
    try {
      const answer = await send(`v1/models/${encodeURIComponent(model.name)}/explain`, body, mine.signal);
      shown.replaceChildren(...explanation(answer, explainers.find(({ name }) => name === answer.explainer)));
    } catch (problem) {
      if (mine.signal.aborted) return;
      shown.replaceChildren(refusal(problem, ask));
    }
    shown.removeAttribute("aria-busy");
  };
  const form = element(
    "form",
    { class: "small-form" },
    element("div", { class: "field small" }, element("label", { for: explainer.id }, "Explained by"), explainer),
    element("div", { class: "field small" }, element("label", { for: target.id }, "What to explain"), target),
    element("div", { class: "buttons" }, element("button", {}, "Explain")),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  explainer.addEventListener("change", ask);
  const box = element("details", { class: "why" }, element("summary", {}, "Why this answer"), form, shown);
  box.addEventListener("toggle", () => box.open && shown.childElementCount === 0 && ask());
  return box;
}

function explanation({ target, words, texts, faithfulness, coverage, attention, timing }, { does }) {
  const number = target.probability === null ? signed(target.value) : percent(target.probability);
  const largest = Math.max(...words.map(({ score }) => Math.abs(score))) || 1;
  return [
    element("p", { role: "status" }, element("strong", { dir: "auto" }, target.name), `, ${number}`),
    element("p", { class: "quiet" }, does),
    element("p", { class: `callout ${tone(faithfulness)}` }, faithfulness.verdict),
    ...incomplete(faithfulness.completeness),
    ...partial(coverage),
    ...texts.map((text) => said(text, words, largest, texts.length > 1)),
    element("p", { class: "legend" }, key(0, "speaks for it"), key(4, "speaks against it")),
    scores(words, largest),
    ...(attention ? looks(attention, words) : []),
    element("p", { class: "quiet" }, `Explained in ${milliseconds(timing.total_ms)}.`),
  ];
}

/** "gradient_x_input" as people read it. */
const titled = (name) => name[0].toUpperCase() + name.slice(1).replaceAll("_", " ");

const looks = (attention, words) => [
  element("h3", {}, "Where it looks"),
  element("p", { class: "quiet" }, "Attention shows where the network looks, not why it decides."),
  heads(attention, words),
  lines(attention, words),
];

const tone = ({ beaten }) => (beaten !== null && beaten <= 0.5 ? "warning" : "");

/** That the scores do not add up, where an explainer's have to. */
function incomplete(completeness) {
  if (!completeness || completeness.holds) return [];
  const { error, num_steps: steps } = completeness;
  return [element("p", { class: "callout warning" }, `The scores miss ${percent(error)} of what they should add up to, after ${counted(steps, "gradient")}: read with care.`)];
}

/** What of the texts is not explained, and what was not read at all. */
function partial({ num_words: all, num_explained_words: explained, num_windows: windows, num_explained_windows: read, num_cut_tokens: cut }) {
  const where = read < windows ? `, in ${count(read)} of ${counted(windows, "part")}, which the answer comes from` : "";
  return [
    explained < all && element("p", { class: "quiet" }, `Explained are ${count(explained)} of ${counted(all, "word")}${where}.`),
    cut > 0 && element("p", { class: "callout warning" }, `Too long for the model: ${counted(cut, "token")} ${cut === 1 ? "was" : "were"} not read, and ${cut === 1 ? "is" : "are"} not explained.`),
  ].filter(Boolean);
}

function said({ name, text }, words, largest, isNamed) {
  const spans = words
    .filter((word) => word.text === name && Math.abs(word.score) > 0.02 * largest)
    .map(({ start, end, score }) => ({ start, end, title: signed(score, 3), tint: score > 0 ? 0 : 4, share: Math.abs(score) / largest }));
  return element("div", {}, isNamed && element("h3", {}, name), marked(text, spans));
}

function scores(words, largest) {
  const rows = [...words]
    .sort((a, b) => Math.abs(b.score) - Math.abs(a.score))
    .map(({ word, score }) => ({ name: word, share: Math.abs(score) / largest, value: signed(score, 3), chosen: score > 0, against: score < 0 }));
  return bars(rows, 6);
}

const key = (tint, text) => [element("span", { class: `swatch tint-${tint}` }), element("span", {}, text)];
