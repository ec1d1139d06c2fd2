// One row a task: what it is, what its form asks for, an example to begin with, and how its answer is shown.
// A task without a row gets a field for each field of its requests, and its prediction field by field.

import * as results from "./results.js";

const FIELDS = {
  text: { label: "Text", kind: "long" },
  text_pair: { label: "Second text", kind: "long" },
  question: { label: "Question", kind: "line" },
  context: { label: "Passage", kind: "long" },
  query: { label: "Query", kind: "line" },
  choices: { label: "Choices", kind: "list", item: "Choice", least: 2 },
  passages: { label: "Passages", kind: "list", item: "Passage", least: 2 },
};

const TASKS = {
  classification: {
    title: "Classification",
    does: "Says which of its labels a text has, and how sure it is.",
    verb: "Classify",
    fields: (model) => (model.pairs === false ? ["text"] : ["text", optional("text_pair", model.pairs !== true)]),
    example: (model) => ({ text: "The room was bright and the staff could not have been kinder.", ...(model.pairs && { text_pair: "The guest liked the hotel." }) }),
    show: results.labels,
  },
  token_classification: {
    title: "Tagging",
    does: "Finds names and other things in a text and says of which kind each is.",
    verb: "Tag",
    fields: () => ["text"],
    example: () => ({ text: "Ada Lovelace was born in London and worked with Charles Babbage." }),
    show: results.tags,
  },
  question_answering: {
    title: "Question answering",
    does: "Marks the answer to a question in a passage, or says that it is not there.",
    verb: "Answer",
    fields: () => ["question", "context"],
    example: () => ({
      question: "Where was Ada Lovelace born?",
      context: "Ada Lovelace was born in London in December 1815. She wrote what is taken to be the first program for a machine.",
    }),
    show: results.span,
  },
  multiple_choice: {
    title: "Multiple choice",
    does: "Picks the likeliest of several choices.",
    verb: "Choose",
    fields: () => ["question", "choices", optional("context")],
    example: () => ({ question: "What do bees make?", choices: ["Honey", "Milk", "Bricks"], context: "" }),
    show: results.choice,
  },
  embedding: {
    title: "Embedding",
    does: "Turns texts into vectors; the closer two of them are, the more alike their meaning.",
    verb: "Compare",
    fields: () => [{ name: "texts", label: "Texts", kind: "list", item: "Text", least: 2 }],
    inputs: ({ texts }) => texts.map((text) => ({ text })),
    explained: ({ texts: [text, pair] }) => ({ text, text_pair: pair }),
    example: () => ({ texts: ["How do I reset my password?", "I cannot log in any more.", "The parcel has not arrived."] }),
    show: results.vectors,
  },
  reranking: {
    title: "Reranking",
    does: "Puts passages in order, those first that answer a query.",
    verb: "Rank",
    fields: () => ["query", "passages"],
    example: () => ({
      query: "how long do refunds take",
      passages: ["Our shops are open from nine to six.", "A refund reaches your account within five working days.", "Parcels can be returned at any post office."],
    }),
    show: results.ranking,
  },
  pretraining: {
    title: "Fill in the mask",
    does: "Guesses the word behind each [MASK] of a text.",
    verb: "Fill in",
    fields: () => [{ ...FIELDS.text, name: "text", insert: "[MASK]" }],
    example: () => ({ text: "The capital of France is [MASK]." }),
    show: results.fills,
  },
  seq2seq: {
    title: "Text to text",
    does: "Writes a new text from the one it is given.",
    verb: "Write",
    fields: () => ["text"],
    example: () => ({ text: "The meeting was moved from Monday to Tuesday because the room was taken." }),
    show: results.written,
  },
};

/** The row of a model's task, with its fields as specs. */
export function taskOf(model) {
  const task = TASKS[model.task] ?? { title: model.task, does: "", verb: "Ask", fields: () => model.fields, show: results.fields };
  return { inputs: (values) => [values], ...task, specs: task.fields(model).map((field) => (typeof field === "string" ? named(field) : field)) };
}

const named = (name) => ({ name, ...(FIELDS[name] ?? { label: name, kind: "long", optional: true }) });

const optional = (name, isOptional = true) => ({ ...named(name), optional: isOptional });
