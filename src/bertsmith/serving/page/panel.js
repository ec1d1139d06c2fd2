// A form and, under it, what the server answers: the same for a model, a search and a question.

import { curl, Refused, send } from "./api.js";
import { disclosure, element } from "./dom.js";
import { makeField } from "./fields.js";
import { copyButton } from "./copying.js";
import { notices, timing } from "./notices.js";

/**
 * The panel of `asking`: {title, kind, does, facts: [[name, node]], specs, verb, example, request, show, why}.
 * request(values) gives the {path, body} to send; show(answer, values) gives what people see, {headline, details}.
 * why(values): what explains the answer, if anything does.
 * refresh(): called where the server wants a key.
 */
export function askingPanel(asking, refresh) {
  const fields = asking.specs.map((spec) => [spec.name, makeField(spec)]);
  const values = () => Object.fromEntries(fields.map(([name, field]) => [name, field.value()]).filter(([, value]) => value !== null));
  const request = () => asking.request(values());

  const fillExample = () => {
    const example = asking.example();
    for (const [name, field] of fields) if (name in example) field.fill(example[name]);
  };
  const form = element(
    "form",
    {},
    fields.map(([, field]) => field.element),
    element(
      "div",
      { class: "buttons" },
      element("button", { class: "main" }, asking.verb),
      asking.example && element("button", { type: "button", onclick: fillExample }, "Fill in an example"),
      copyButton("Copy as curl", () => curl(request().path, request().body)),
    ),
  );
  const result = resultBox();
  let asked = null;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    asked?.abort();
    const mine = (asked = new AbortController());
    const given = values();
    result.wait();
    try {
      const { path, body } = request();
      const answer = await send(path, body, mine.signal);
      result.show(answer, asking.show(answer, given), asking.why?.(given));
    } catch (problem) {
      if (mine.signal.aborted) return;
      result.refuse(problem, () => form.requestSubmit());
      if (problem.status === 401) refresh();
    }
  });
  return element("article", { class: "panel" }, heading(asking), form, result.element);
}

export function heading({ title, kind, does, facts = [] }) {
  return element(
    "header",
    {},
    element("p", { class: "kind" }, kind),
    element("h1", { tabindex: "-1" }, title),
    element("p", { class: "does" }, does),
    facts.length > 0 && element("dl", { class: "facts" }, facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
  );
}

/** Where an answer stands. The old one stays, dimmed, until the new one is there, so that nothing jumps. */
function resultBox() {
  const headline = element("div", { class: "headline", role: "status" }, element("p", { class: "quiet" }, "The answer appears here.", element("span", { class: "keys" }, " Enter asks, Shift + Enter begins a new line.")));
  const details = element("div", { class: "details" });
  const box = element("section", { class: "result", "aria-label": "Result" }, headline, details);
  const fill = (first, ...rest) => {
    box.removeAttribute("aria-busy");
    headline.replaceChildren(first);
    details.replaceChildren(...rest.flat(Infinity).filter(Boolean));
  };
  return {
    element: box,
    wait: () => box.setAttribute("aria-busy", "true"),
    show: (answer, shown, why) => fill(shown.headline, notices(answer), shown.details, why, timing(answer), disclosure("Raw answer", () => raw(answer))),
    refuse: (problem, again) => fill(refusal(problem, again)),
  };
}

/** What went wrong and what to do about it. Errors of the page itself are shown too, rather than swallowed. */
export function refusal(problem, again) {
  const isServers = problem instanceof Refused;
  const where = problem.index == null ? "" : ` (text ${problem.index + 1})`;
  const canWait = isServers && [0, 429, 503, 504].includes(problem.status);
  return element(
    "div",
    { class: "callout bad" },
    element("strong", {}, isServers ? problem.title + where : "This page made a mistake"),
    problem.message && element("p", {}, problem.message),
    isServers && problem.advice && element("p", {}, problem.advice),
    canWait && element("button", { type: "button", onclick: again }, "Try again"),
  );
}

const raw = (answer) => element("pre", { tabindex: "0" }, JSON.stringify(answer, null, 2));
