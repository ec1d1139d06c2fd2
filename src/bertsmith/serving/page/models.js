// The panel of a loaded model.

import { copyButton } from "./copying.js";
import { element } from "./dom.js";
import { count } from "./numbers.js";
import { askingPanel } from "./panel.js";
import { taskOf } from "./tasks.js";
import { why } from "./why.js";

export function modelPanel(model, explainers, refresh) {
  const task = taskOf(model);
  const asking = {
    title: model.name,
    kind: task.title,
    does: task.does,
    facts: facts(model),
    specs: task.specs,
    verb: task.verb,
    example: task.example && (() => task.example(model)),
    request: (values) => ({ path: `v1/models/${encodeURIComponent(model.name)}/predict`, body: { inputs: task.inputs(values) } }),
    show: (answer, values) => task.show(answer.predictions, values, model),
    why: (values) => why(model, task.explained?.(values) ?? task.inputs(values)[0], explainers),
  };
  return askingPanel(asking, refresh);
}

function facts({ labels, max_length: length, sha256 }) {
  return [
    labels && ["Labels", labels.length <= 6 ? labels.join(", ") : count(labels.length)],
    length && ["Reads at once", `${count(length)} tokens`],
    sha256 && ["SHA-256", [element("code", { title: sha256 }, sha256.slice(0, 12)), copyButton("Copy", () => sha256, { class: "plain", "aria-label": "Copy the model's SHA-256" })]],
  ].filter(Boolean);
}
