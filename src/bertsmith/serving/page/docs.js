// The page at /docs: every route of openapi.json with its body, its answer and a command to begin with.

import { curl } from "./api.js";
import { copyButton } from "./copying.js";
import { element } from "./dom.js";

const described = await (await fetch("openapi.json")).json();

const nameOf = (schema) => schema?.$ref?.split("/").pop();

/** The schema itself, or the one that it refers to. */
const followed = (schema) => (schema?.$ref ? described.components.schemas[nameOf(schema)] : schema);

function route(path, method, { summary, requestBody, responses }) {
  const body = requestBody?.content["application/json"].schema;
  const answer = responses["200"].content["application/json"].schema;
  const command = curl(path.replace(/^\//, ""), body && sample(body));
  return element(
    "details",
    { class: "route" },
    element("summary", {}, element("span", { class: `method ${method}` }, method.toUpperCase()), element("code", {}, path), element("span", { class: "quiet" }, summary)),
    body && [element("h3", {}, "Body"), fields(body)],
    element("h3", {}, "Answer"),
    fields(answer),
    element("h3", {}, "For a terminal", " ", copyButton("Copy", () => command, { class: "plain" })),
    element("pre", { tabindex: "0" }, command),
  );
}

function fields(schema) {
  const { properties = {}, required = [] } = followed(schema) ?? {};
  const rows = Object.entries(properties).map(([name, part]) => [
    element("dt", {}, element("code", {}, name), !required.includes(name) && element("span", { class: "quiet" }, " optional")),
    element("dd", {}, type(part), part.description && element("span", { class: "quiet" }, ` ${part.description}`)),
  ]);
  return rows.length ? element("dl", { class: "fields" }, rows) : element("p", { class: "quiet" }, "An object with names of its own.");
}

/** The type in words; records are links to where they are described. */
function type(schema) {
  const name = nameOf(schema);
  if (name) return element("a", { href: `#${name}` }, name);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) return choices.flatMap((one, place) => [place > 0 && " or ", type(one)]);
  if (schema.enum) return schema.enum.join(", ");
  if (schema.type === "array") return ["list of ", type(schema.items ?? {})];
  return [schema.type ?? "anything"].flat().join(" or ");
}

/** A body of the fields that are needed, each with a value of its type. */
function sample(schema) {
  const known = followed(schema);
  if (known.anyOf ?? known.oneOf) return sample((known.anyOf ?? known.oneOf)[0]);
  if (known.enum) return known.enum[0];
  if (known.type === "array") return [sample(known.items ?? {})];
  if (known.type === "object") return Object.fromEntries((known.required ?? []).map((name) => [name, sample(known.properties[name])]));
  return { integer: 1, number: 0.5, boolean: true, null: null }[known.type] ?? "A text.";
}

const routes = Object.entries(described.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => route(path, method, operation)));
const records = Object.entries(described.components.schemas).map(([name, schema]) =>
  element("section", { id: name, class: "record" }, element("h3", {}, element("code", {}, name)), schema.description && element("p", { class: "quiet" }, schema.description), fields(schema)),
);
document.getElementById("routes").replaceChildren(...routes, element("h2", {}, "Records"), ...records);
