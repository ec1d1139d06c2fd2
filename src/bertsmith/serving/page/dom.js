// Elements from plain text. Nothing in this page parses markup, so no text can become any.

/** An element; attributes that begin with "on" are listeners, false and null leave one out; children are nodes or texts. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return made;
}

let made = 0;

/** An id that no other element of the page has. */
export const freshId = () => `part-${++made}`;

/** What opens on demand; `content` is called when it is opened for the first time. */
export function disclosure(title, content) {
  const box = element("details", {}, element("summary", {}, title));
  box.addEventListener("toggle", () => box.open && box.children.length === 1 && box.append(content()));
  return box;
}

/** A text of the caller's or of the model's: in its own direction, with its line breaks. */
export const said = (text, attributes = {}) => element("p", { dir: "auto", ...attributes, class: `said ${attributes.class ?? ""}` }, text);
