// What each task's prediction looks like. Every function takes the predictions of one request of the page and the values
// that its form held, and gives a `headline`, which is read out, and the `details` under it.

import { bars } from "./bars.js";
import { element, said } from "./dom.js";
import { legend, marked } from "./marked.js";
import { matrix } from "./matrix.js";
import { counted, decimal, percent } from "./numbers.js";

export function labels([prediction], values, model) {
  if (prediction.label === null) return { headline: decimal(prediction.score, 3), details: element("p", { class: "quiet" }, "The value that the model gives this text.") };
  const several = model.multi_label;
  const chosen = several ? prediction.labels : [prediction.label];
  const rows = Object.entries(prediction.scores).sort((a, b) => b[1] - a[1]);
  const headline = several ? chosen.join(", ") || "None of the labels" : `${prediction.label}, ${percent(prediction.score)}`;
  return { headline, details: bars(rows.map(([name, share]) => ({ name, share, chosen: chosen.includes(name) }))) };
}

/** Entities; or, of a model with plain tags such as parts of speech, every word. */
export function tags([prediction], { text }, model) {
  const hasEntities = model.labels.some((label) => /^[BSU]-/.test(label));
  const found = hasEntities
    ? prediction.entities.map((entity) => ({ ...entity, name: entity.entity_group }))
    : prediction.words.map((word) => ({ ...word, name: word.tag }));
  const counts = {};
  for (const { name } of found) counts[name] = (counts[name] ?? 0) + 1;
  const names = Object.keys(counts).sort();
  const spans = found.map(({ start, end, name, score }) => ({ start, end, tag: name, tint: names.indexOf(name), title: `${name}, ${percent(score)}` }));
  const rows = found.map(({ word, name, score }) => ({ name: `${word} (${name})`, share: score }));
  return {
    headline: hasEntities ? (found.length ? counted(found.length, "entity", "entities") : "No entities") : counted(found.length, "word"),
    details: [marked(text, spans), legend(names, counts), hasEntities && bars(rows)],
  };
}

export function span([prediction], { context }) {
  const { answer, start, end, score, candidates } = prediction;
  const rows = candidates.map((candidate) => ({ name: candidate.answer || "no answer", share: candidate.score, chosen: candidate.answer === answer && candidate.start === start }));
  return {
    headline: answer ? `${answer}, ${percent(score)}` : `No answer in this passage, ${percent(score)}`,
    details: [marked(context, answer ? [{ start, end }] : []), bars(rows, 3)],
  };
}

export function choice([prediction], { choices }) {
  const rows = choices.map((name, place) => ({ name, share: prediction.scores[place], chosen: place === prediction.label }));
  return { headline: `${prediction.choice}, ${percent(prediction.score)}`, details: bars(rows, choices.length) };
}

export function vectors(predictions, { texts }) {
  const { table, closest } = matrix(predictions.map(({ embedding }) => embedding), texts);
  const [first, second, cosine] = closest;
  const headline = texts.length === 2 ? `Similarity ${decimal(cosine)}` : `Most alike: ${first + 1} and ${second + 1}, ${decimal(cosine)}`;
  return { headline, details: [table, element("p", { class: "quiet" }, `Cosines of vectors of ${predictions[0].embedding.length} numbers; 1 means the same direction.`)] };
}

export function ranking([{ ranking: order, scores }], { passages }) {
  const rows = order.map((place, rank) => ({ name: passages[place], share: scores[place], chosen: rank === 0 }));
  return { headline: `Passage ${order[0] + 1} first, ${percent(scores[order[0]])}`, details: bars(rows, passages.length) };
}

export function fills([prediction], { text }) {
  const parts = text.split("[MASK]");
  const filled = parts.map((part, place) => [place > 0 && element("mark", { class: "tint-0" }, prediction.fills[place - 1]?.[0].token ?? "[MASK]"), part]);
  const blocks = prediction.fills.map((candidates, place) =>
    element("section", {}, prediction.fills.length > 1 && element("h3", {}, `[MASK] ${place + 1}`), bars(candidates.map(({ token, score }, rank) => ({ name: token, share: score, chosen: rank === 0 })))),
  );
  return { headline: element("span", { dir: "auto" }, filled), details: blocks };
}

export function written([{ text, score, finished }]) {
  const length = finished ? "" : ", cut off at the length that the model writes at most";
  return { headline: said(text), details: element("p", { class: "quiet" }, `Mean probability of its tokens ${percent(score)}${length}.`) };
}

/** For a task that this page has no drawing for. */
export function fields([prediction]) {
  const rows = Object.entries(prediction).map(([name, value]) => [element("dt", {}, name), element("dd", { dir: "auto" }, typeof value === "string" ? value : JSON.stringify(value))]);
  return { headline: "Answered", details: element("dl", { class: "facts tall" }, rows) };
}
