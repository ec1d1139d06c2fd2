// What people should know of an answer: what was not read of their texts, and what it took.

import { element } from "./dom.js";
import { counted, milliseconds } from "./numbers.js";

/** A notice where texts were cut or read in several windows; else nothing. */
export function notices({ truncation }) {
  if (!truncation) return [];
  const { num_cut_requests: cut, num_cut_tokens: tokens, num_windowed_requests: windowed } = truncation;
  return [
    cut > 0 && element("p", { class: "callout warning" }, `Too long for the model: ${counted(tokens, "token")} at the end of ${counted(cut, "text")} ${tokens === 1 ? "was" : "were"} not read.`),
    windowed > 0 && element("p", { class: "callout" }, "Longer than the model reads at once: it was read in several overlapping windows, all of it."),
  ];
}

/** How long it took, where the answer says so, and how much was read. */
export function timing({ timing: took, usage }) {
  if (!took) return null;
  const parts = [
    `${milliseconds(took.total_ms)} on the server`,
    took.inference_ms !== undefined && `${milliseconds(took.inference_ms)} computing`,
    took.queue_ms !== undefined && `${milliseconds(took.queue_ms)} waiting`,
    usage?.num_tokens !== undefined && counted(usage.num_tokens, "token"),
  ];
  return element("p", { class: "timing" }, parts.filter(Boolean).join(" · "));
}
