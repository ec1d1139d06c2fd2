// Rows of a name, a bar and a number.

import { disclosure, element } from "./dom.js";
import { count, percent } from "./numbers.js";

/**
 * A list of `rows` {name, share: 0 to 1, value, chosen, against}. Beyond `most` rows the others are shown on demand.
 * The value is what people read: the share in percent unless given.
 */
export function bars(rows, most = 8) {
  if (rows.length <= most + 2) return list(rows);
  return element("div", {}, list(rows.slice(0, most)), disclosure(`All ${count(rows.length)}`, () => list(rows.slice(most), most + 1)));
}

function list(rows, first = 1) {
  return element("ol", { class: "bars", start: first }, rows.map(row));
}

function row({ name, share, value, chosen, against }) {
  const fill = element("span");
  // Through the object model, which a policy without inline styles allows.
  fill.style.inlineSize = `${100 * Math.min(1, Math.max(0, share))}%`;
  return element(
    "li",
    { class: chosen ? "chosen" : against ? "against" : null },
    element("span", { class: "name", dir: "auto" }, name),
    element("span", { class: "bar", "aria-hidden": "true" }, fill),
    element("span", { class: "value" }, value ?? percent(share)),
  );
}
