// A button that copies a text, and shows it where the browser does not let pages copy (addresses without TLS).

import { element } from "./dom.js";

/** `text` is called when the button is pressed. */
export function copyButton(title, text, attributes = {}) {
  const note = element("span", { class: "copied", role: "status" });
  const shown = element("textarea", { class: "long", rows: 4, readonly: true, hidden: true, "aria-label": title });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text());
      note.textContent = "Copied";
      setTimeout(() => note.replaceChildren(), 2000);
    } catch {
      shown.value = text();
      shown.hidden = false;
      shown.select();
    }
  };
  return [element("button", { type: "button", ...attributes, onclick: copy }, title), note, shown];
}
