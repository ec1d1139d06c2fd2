// The cosines of some vectors, as a table of numbers on a tint.

import { element } from "./dom.js";
import { decimal } from "./numbers.js";

/** The table, and the closest pair as [first, second, cosine]. */
export function matrix(vectors, texts) {
  const lengths = vectors.map((vector) => Math.sqrt(dot(vector, vector)));
  const cosine = (i, j) => dot(vectors[i], vectors[j]) / (lengths[i] * lengths[j] || 1);
  let closest = [0, 1, -2];
  const rows = texts.map((text, i) => {
    const cells = texts.map((_, j) => {
      if (i === j) return element("td", { class: "self" }, "1");
      const value = cosine(i, j);
      if (i < j && value > closest[2]) closest = [i, j, value];
      const cell = element("td", {}, decimal(value));
      cell.style.setProperty("--share", `${Math.round(70 * Math.max(0, value))}%`);
      return cell;
    });
    return element("tr", {}, element("th", { scope: "row", title: text }, element("span", {}, `${i + 1}`), element("span", { class: "short", dir: "auto" }, text)), cells);
  });
  const head = element("tr", {}, element("td"), texts.map((text, i) => element("th", { scope: "col", title: text }, `${i + 1}`)));
  const table = element("table", { class: "matrix" }, element("thead", {}, head), element("tbody", {}, rows));
  return { table: element("div", { class: "wide", tabindex: "0", role: "group", "aria-label": "Similarities" }, table), closest };
}

const dot = (one, other) => one.reduce((sum, value, place) => sum + value * other[place], 0);
