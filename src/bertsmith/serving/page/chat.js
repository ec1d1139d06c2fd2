// The panel of the assistant: a dialogue, turn by turn.

import { curl, send } from "./api.js";
import { copyButton } from "./copying.js";
import { cited } from "./documents.js";
import { element, said } from "./dom.js";
import { makeField } from "./fields.js";
import { notices } from "./notices.js";
import { percent } from "./numbers.js";
import { heading, refusal } from "./panel.js";

const KINDS = { intent: "recognised", faq: "from the questions and answers", answer: "from the documents", reply: "from earlier dialogues", handover: "handed over to a person" };

export function chatPanel(refresh) {
  const turns = element("ol", { class: "turns", role: "log", "aria-label": "Dialogue", tabindex: "0" });
  const field = makeField({ label: "Your message", kind: "line" });
  let conversation = null;
  let asked = null;
  const body = () => ({ text: field.value(), ...(conversation !== null && { conversation }) });

  const restart = () => {
    asked?.abort();
    conversation = null;
    turns.replaceChildren();
    field.element.querySelector("textarea").focus();
  };
  const form = element(
    "form",
    {},
    field.element,
    element(
      "div",
      { class: "buttons" },
      element("button", { class: "main" }, "Send"),
      element("button", { type: "button", onclick: restart }, "New conversation"),
      copyButton("Copy as curl", () => curl("chat", body())),
    ),
  );
  const add = (turn) => {
    turns.append(turn);
    turns.scrollTop = turns.scrollHeight;
    return turn;
  };
  const answer = async (message) => {
    asked?.abort();
    const mine = (asked = new AbortController());
    const waiting = add(element("li", { class: "theirs quiet" }, "…"));
    try {
      const reply = await send("chat", message, mine.signal);
      conversation = reply.conversation;
      add(turnOf(reply));
    } catch (problem) {
      if (mine.signal.aborted) return;
      const failed = add(element("li", {}, refusal(problem, () => { failed.remove(); answer(message); })));
      if (problem.status === 401) refresh();
    } finally {
      waiting.remove();
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const message = body();
    add(element("li", { class: "mine" }, said(message.text)));
    field.fill("");
    answer(message);
  });
  return element("article", { class: "panel" }, heading({ title: "Assistant", kind: "Dialogue", does: "Answers in a conversation, and hands over to a person when unsure." }), turns, form);
}

function turnOf({ text, kind, intent, score, citation, truncation }) {
  const note = [KINDS[kind] ?? kind, intent, score != null && percent(score)].filter(Boolean).join(", ");
  return element("li", { class: kind === "handover" ? "theirs handover" : "theirs" }, said(text), citation && cited(citation), notices({ truncation }), element("p", { class: "quiet" }, note));
}
