// Attention as pictures: heads by words as a map, words by words as lines. Rows and columns are those of the server's
// answer, the last column being the special tokens together.

import { element, freshId } from "./dom.js";

const SPECIAL = "[CLS] [SEP]";
const ROW = 20;
const WIDTH = 560;

/** A row for each head of each layer, a column for each word: where it looks from where the answer is read. */
export function heads({ words: places, by_head: layers }, words) {
  const names = [...places.map((place) => words[place].word), SPECIAL];
  const height = Math.max(3, Math.min(11, Math.floor(300 / (layers.length * layers[0].length))));
  const [left, top] = [52, 84];
  const width = Math.min(30, (WIDTH - left - 50) / names.length);
  const cells = layers.flatMap((layer, number) => {
    const begin = top + number * (layer.length * height + 3);
    const label = drawn("text", { x: left - 6, y: begin + (layer.length * height) / 2 + 4, "text-anchor": "end" }, `layer ${number + 1}`);
    const rows = layer.flatMap((head, row) =>
      head.map((value, column) => cell(left + column * width, begin + row * height, width - 1, height - 0.5, value)),
    );
    return [label, ...rows];
  });
  const labels = names.map((name, column) =>
    drawn("text", { transform: `translate(${left + (column + 0.5) * width + 3} ${top - 6}) rotate(-60)` }, short(name)),
  );
  const size = [left + names.length * width + 50, top + layers.length * (layers[0].length * height + 3)];
  return picture(size, "Attention by layer and head", [...labels, ...cells]);
}

/** The words twice, and lines from each to the three that it looks at most, in a layer that can be chosen. */
export function lines({ words: places, between: layers }, words) {
  const names = places.map((place) => words[place].word);
  const choice = element("select", { id: freshId() }, layers.map((_, number) => element("option", { value: number, selected: number === layers.length - 1 }, `${number + 1} of ${layers.length}`)));
  const shown = element("div", {});
  const draw = () => shown.replaceChildren(between(layers[Number(choice.value)], names, Number(choice.value)));
  choice.addEventListener("change", draw);
  draw();
  return element("div", {}, element("div", { class: "field small inline" }, element("label", { for: choice.id }, "Between words, layer"), choice), shown);
}

function between(layer, names, number) {
  const [left, right] = [WIDTH * 0.3, WIDTH * 0.7];
  const parts = names.flatMap((name, row) => {
    const y = row * ROW + 12;
    // Without the special tokens: lines to them would hide all others.
    const strongest = layer[row].slice(0, -1).map((value, column) => [value, column]).sort((a, b) => b[0] - a[0]).slice(0, 3);
    return [
      drawn("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, short(name)),
      drawn("text", { x: right + 8, y: y + 4 }, short(name)),
      ...strongest.map(([value, column]) => drawn("line", { x1: left, y1: y, x2: right, y2: column * ROW + 12, "stroke-opacity": strength(value) })),
    ];
  });
  return picture([WIDTH, names.length * ROW + 4], `Attention between words, layer ${number + 1}`, parts);
}

const cell = (x, y, width, height, value) => drawn("rect", { x, y, width, height, "fill-opacity": strength(value) });

/** The root of a share, so that the small is seen beside the large. */
const strength = (share) => Math.sqrt(Math.min(1, Math.max(0, share))).toFixed(2);

const short = (name) => (name.length > 16 ? `${name.slice(0, 15)}…` : name);

function picture([width, height], title, parts) {
  const box = drawn("svg", { viewBox: `0 0 ${Math.round(width)} ${Math.round(height)}`, role: "img", "aria-label": title, class: "picture" });
  box.style.maxWidth = `${Math.round(width)}px`;
  box.append(...parts);
  return element("div", { class: "wide", tabindex: "0", role: "group", "aria-label": `${title}, which can be moved` }, box);
}

function drawn(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}
