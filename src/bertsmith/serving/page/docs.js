// The page at /docs: every route of openapi.json with its body, its answer and a command line.

import { element } from "./dom.js";

const described = await (await fetch("openapi.json")).json();

/** The schema that a reference names, followed once; deeper ones stay names. */
function followed(schema) {
  const name = schema?.$ref?.split("/").pop();
  return name ? described.components.schemas[name] : schema;
}

function fields(schema) {
  const { properties = {}, required = [] } = followed(schema) ?? {};
  const rows = Object.entries(properties).map(([name, part]) =>
    element("tr", {}, element("th", { scope: "row" }, element("code", {}, name)), element("td", {}, typeOf(part)), element("td", {}, required.includes(name) ? "required" : ""), element("td", {}, part.description ?? followed(part)?.description ?? "")),
  );
  return element("table", { class: "fields" }, element("tbody", {}, rows));
}

function typeOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  if (schema.type === "array") return `list of ${typeOf(schema.items ?? {})}`;
  return [schema.type ?? "any"].flat().join(" or ");
}

function operation(path, method, { summary, requestBody, responses }) {
  const body = requestBody?.content["application/json"].schema;
  const answer = responses["200"].content["application/json"].schema;
  return element(
    "section",
    {},
    element("h2", {}, element("code", {}, `${method.toUpperCase()} ${path}`)),
    element("p", {}, `${summary}.`),
    body && [element("h3", {}, "Body"), fields(body)],
    element("h3", {}, "Answer"),
    fields(answer),
  );
}

const operations = Object.entries(described.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, one]) => operation(path, method, one)));
const schemas = Object.entries(described.components.schemas).map(([name, schema]) => element("section", { id: name }, element("h3", {}, element("code", {}, name)), element("p", {}, schema.description ?? ""), fields(schema)));
document.getElementById("routes").replaceChildren(...operations, element("h2", {}, "Records"), ...schemas);
