// Form fields. Each has an `element`, `value()` as a request wants it (null: left out), and `fill(value)`.
// Enter sends the form, Shift + Enter begins a new line; on a screen keyboard, which has no such Shift, the button sends.

import { element, freshId } from "./dom.js";

/**
 * The field of a spec {name, label, kind, ...}; kind: "line", "long", "list" (several texts, `least` of them needed),
 * "number", "choice" (one of `options`), or "tick". `optional`: may be left empty.
 */
export function makeField(spec) {
  return { list: listField, number: numberField, choice: choiceField, tick: tickField }[spec.kind]?.(spec) ?? textField(spec);
}

function textField({ label, kind, optional, hint, insert }) {
  const box = textBox(kind, !optional, { placeholder: hint });
  const value = () => box.value || (optional ? null : "");
  return { element: labelled(label, box, { optional, extra: insert && insertButton(box, insert) }), value, fill: setter(box) };
}

/** Several texts with buttons to add and to remove; empty ones are left out. */
function listField({ label, item, least = 0, hint, long }) {
  const items = element("ol", { class: "items" });
  const boxes = () => [...items.querySelectorAll("textarea")];

  const number = () =>
    boxes().forEach((box, place) => {
      box.setAttribute("aria-label", `${item} ${place + 1}`);
      box.required = place < least;
      const remove = box.nextElementSibling;
      remove.setAttribute("aria-label", `Remove ${item.toLowerCase()} ${place + 1}`);
      remove.disabled = boxes().length <= least;
    });

  const add = (text = "") => {
    const box = textBox(long ? "long" : "line", false, { placeholder: hint });
    box.value = text;
    const remove = element("button", { type: "button", class: "plain", onclick: () => drop(box) }, "\u00d7");
    items.append(element("li", {}, box, remove));
    number();
    return box;
  };

  const drop = (box) => {
    const place = boxes().indexOf(box);
    box.closest("li").remove();
    number();
    (boxes()[Math.min(place, boxes().length - 1)] ?? more).focus();
  };

  const fill = (texts) => {
    items.replaceChildren();
    for (const text of texts) add(text);
  };

  const more = element("button", { type: "button", class: "plain", onclick: () => add().focus() }, `Add ${item.toLowerCase()}`);
  fill(Array(least).fill(""));
  const box = element("fieldset", { class: "field" }, element("legend", {}, label), items, more);
  return { element: box, value: () => boxes().map((one) => one.value).filter((text) => text.trim()), fill };
}

function numberField({ label, initial, min, max }) {
  const box = element("input", { type: "number", min, max, value: initial, required: true, inputmode: "numeric" });
  return { element: labelled(label, box, { small: true }), value: () => box.valueAsNumber, fill: setter(box) };
}

function choiceField({ label, options }) {
  const box = element("select", {}, options.map(([value, text]) => element("option", { value }, text)));
  return { element: labelled(label, box, { small: true }), value: () => box.value || null, fill: setter(box) };
}

function tickField({ label }) {
  const box = element("input", { type: "checkbox" });
  const tick = element("label", { class: "tick" }, box, label);
  return { element: tick, value: () => box.checked, fill: (on) => { box.checked = on; } };
}

function textBox(kind, required, attributes) {
  const box = element("textarea", { ...attributes, class: kind, dir: "auto", rows: kind === "long" ? 4 : 1, required, spellcheck: "false" });
  box.addEventListener("keydown", (event) => {
    // A key that picks a character in an input method (Chinese, Japanese, Korean) is not for the form.
    const sends = event.key === "Enter" && !event.shiftKey && !event.isComposing;
    if (!sends || matchMedia("(pointer: coarse)").matches) return;
    event.preventDefault();
    box.form.requestSubmit();
  });
  return box;
}

function insertButton(box, text) {
  const insert = () => {
    box.setRangeText(text, box.selectionStart, box.selectionEnd, "end");
    box.focus();
  };
  return element("button", { type: "button", class: "plain", onclick: insert }, `Insert ${text}`);
}

function labelled(label, box, { optional, extra, small } = {}) {
  box.id = freshId();
  const note = optional && element("span", { class: "quiet" }, " (optional)");
  return element("div", { class: small ? "field small" : "field" }, element("div", { class: "over" }, element("label", { for: box.id }, label, note), extra), box);
}

const setter = (box) => (value) => { box.value = value ?? ""; };
