// A text with stretches of it marked. Offsets from the server count code points, as Python does; JavaScript's own
// count UTF-16 units, of which an emoji has two, so texts are cut as arrays of code points.

import { element } from "./dom.js";

/** Characters [start, end) of the text, counted as the server counts them. */
export const slice = (text, start, end) => Array.from(text).slice(start, end).join("");

/**
 * The text as a paragraph; each of `spans` {start, end, tag, tint, title, share} is a <mark> with its tag behind it.
 * share: how strong the tint is, from 0 to 1. Of two that overlap, the earlier one is marked.
 */
export function marked(text, spans) {
  const points = Array.from(text);
  const parts = [];
  let at = 0;
  for (const span of [...spans].sort((a, b) => a.start - b.start || b.end - a.end)) {
    if (span.start < at || span.end <= span.start) continue;
    parts.push(points.slice(at, span.start).join(""));
    const tag = span.tag && element("span", { class: "tag" }, span.tag);
    const mark = element("mark", { class: tint(span.tint ?? 0), title: span.title }, points.slice(span.start, span.end).join(""), tag);
    if (span.share !== undefined) {
      mark.classList.add("weighed");
      mark.style.setProperty("--strength", `${Math.round(60 * span.share)}%`);
    }
    parts.push(mark);
    at = span.end;
  }
  parts.push(points.slice(at).join(""));
  return element("p", { class: "said", dir: "auto" }, parts);
}

/** Names to their colours and numbers, in the order given. */
export function legend(names, counts) {
  return element(
    "ul",
    { class: "legend", "aria-label": "Legend" },
    names.map((name, place) => element("li", {}, element("span", { class: `swatch ${tint(place)}` }), name, element("span", { class: "quiet" }, ` ${counts[name]}`))),
  );
}

const tint = (place) => `tint-${place % 8}`;
