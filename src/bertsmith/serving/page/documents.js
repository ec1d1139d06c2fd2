// The panels of an index: hits of a search, and answers with the passage that they stand in.

import { bars } from "./bars.js";
import { element, said } from "./dom.js";
import { marked } from "./marked.js";
import { counted, decimal, percent } from "./numbers.js";
import { askingPanel } from "./panel.js";

const FILTERS = { name: "filters", label: "Filters", kind: "list", item: "Filter", hint: "year>=2020" };

export function searchPanel(index, refresh) {
  const asking = {
    title: index.name,
    kind: "Search",
    does: "Finds passages by their words, by their meaning, or by both.",
    specs: [
      { name: "query", label: "Query", kind: "line" },
      { name: "mode", label: "Search by", kind: "choice", options: [["", "what suits the index"], ["hybrid", "words and meaning"], ["bm25", "words (BM25)"], ["dense", "meaning (vectors)"]] },
      { name: "limit", label: "Hits", kind: "number", initial: 10, min: 1, max: 100 },
      FILTERS,
    ],
    verb: "Search",
    request: ({ filters, ...values }) => ({ path: "search", body: { ...values, ...asFilters(filters), index: index.name } }),
    show: ({ hits }) => ({ headline: hits.length ? counted(hits.length, "hit") : "Nothing found", details: element("ol", { class: "hits" }, hits.map(hitRow)) }),
  };
  return askingPanel(asking, refresh);
}

export function askPanel(index, refresh) {
  const asking = {
    title: index.name,
    kind: "Questions",
    does: "Answers a question from the documents and shows where the answer stands, or says that it does not know.",
    specs: [{ name: "question", label: "Question", kind: "line" }, FILTERS],
    verb: "Ask",
    request: ({ filters, question }) => ({ path: "ask", body: { question, ...asFilters(filters), index: index.name } }),
    show: answered,
  };
  return askingPanel(asking, refresh);
}

function answered({ answer, score, citation, candidates, hits }) {
  const headline = answer === null ? "I don't know" : `${answer}, ${percent(score)}`;
  const source = citation && hits.find((hit) => hit.document === citation.document && hit.start <= citation.start && citation.end <= hit.end);
  const others = hits.filter((hit) => hit !== source);
  return {
    headline,
    details: [
      citation && cited(citation, source),
      candidates?.length > 1 && [element("h3", {}, "Answers considered"), bars(candidates.map((one) => ({ name: one.answer ?? "I don't know", share: one.score, chosen: one.answer === answer })), 5)],
      others.length > 0 && [element("h3", {}, source ? "Also read" : "Read"), element("ol", { class: "hits" }, others.map(hitRow))],
    ],
  };
}

/** The citation in its passage; where that is not among the hits, by itself. */
export function cited(citation, passage) {
  const place = `${citation.document}, characters ${citation.start} to ${citation.end}`;
  const text = passage ? marked(passage.text, [{ start: citation.start - passage.start, end: citation.end - passage.start }]) : said(citation.text);
  return element("figure", { class: "citation" }, text, element("figcaption", {}, citation.title && element("strong", { dir: "auto" }, citation.title), " ", place));
}

function hitRow(hit) {
  const ranks = [hit.bm25_rank != null && `rank ${hit.bm25_rank} by words`, hit.dense_rank != null && `rank ${hit.dense_rank} by meaning`].filter(Boolean);
  const metadata = Object.entries(hit.metadata ?? {}).map(([name, value]) => `${name}: ${value}`);
  return element(
    "li",
    {},
    element("h3", { dir: "auto" }, hit.title || hit.document),
    said(hit.text),
    element("p", { class: "quiet" }, [`score ${decimal(hit.score, 3)}`, ...ranks, hit.title && hit.document, ...metadata].filter(Boolean).join(" · ")),
  );
}

const BORDERS = { ">": "gt", ">=": "gte", "<": "lt", "<=": "lte" };

/**
 * Lines as the server's filters: "year=2024", "year>=2020". A name that is said to equal several values has one of them;
 * borders of one name hold together. A line without a sign asks for true.
 */
function asFilters(lines) {
  const filters = {};
  for (const line of lines) {
    const [, name, sign = "=", value = "true"] = line.trim().match(/^(.*?)(?:\s*(>=|<=|>|<|=)\s*(.*))?$/s);
    if (sign === "=") filters[name] = name in filters ? [filters[name], asValue(value)].flat() : asValue(value);
    else filters[name] = { ...filters[name], [BORDERS[sign]]: asValue(value) };
  }
  return lines.length ? { filters } : {};
}

function asValue(text) {
  if (text === "true" || text === "false") return text === "true";
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}
