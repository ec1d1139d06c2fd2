// The server's side of the page: requests, the key, what to do about a refusal, and the same request for a terminal.

const STORED = "bertsmith-key";

let key = "";
try {
  key = sessionStorage.getItem(STORED) ?? "";
} catch {
  // A browser that keeps nothing: the key lives as long as the page.
}

/** The key that requests carry from now on; the tab forgets it when it is closed. */
export function useKey(given) {
  key = given;
  try {
    sessionStorage.setItem(STORED, given);
  } catch {
    // As above.
  }
}

/** A request that was not answered. status 0: the server was not reached. index: of the item that was refused. */
export class Refused extends Error {
  constructor(status, message, { index = null, retrySeconds = null } = {}) {
    super(message);
    Object.assign(this, { status, index, retrySeconds });
  }

  get title() {
    return TITLES[this.status] ?? (this.status >= 500 ? "The server failed" : "The server refused this");
  }

  /** What the reader can do. */
  get advice() {
    const wait = this.retrySeconds ? `in ${this.retrySeconds} s` : "in a moment";
    return { 0: "See whether it is still running, and try again.", 429: `Try again ${wait}.`, 503: `Try again ${wait}.`, 504: "Try again, or with less text." }[this.status] ?? "";
  }
}

const TITLES = {
  0: "The server does not answer",
  401: "The server wants a key",
  404: "Not found",
  413: "Too much text",
  422: "This cannot be read",
  429: "Too many requests",
  503: "The server is busy",
  504: "This took too long",
};

/** The answer as it came. Raises `Refused`, or an AbortError if `signal` was used. */
export async function send(path, body, signal) {
  let response;
  try {
    response = await fetch(address(path), {
      method: body === undefined ? "GET" : "POST",
      headers: { ...(body !== undefined && { "Content-Type": "application/json" }), ...(key && { Authorization: `Bearer ${key}` }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new Refused(0, "");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const { message = `Status ${response.status}.`, index = null } = answer.error ?? {};
  throw new Refused(response.status, message, { index, retrySeconds: Number(response.headers.get("Retry-After")) || null });
}

/** The same request as a command; the key is left to the shell's environment, so that it is not pasted around. */
export function curl(path, body) {
  const parts = [`curl ${quoted(address(path))}`];
  if (key) parts.push('-H "Authorization: Bearer $BERTSMITH_API_KEY"');
  if (body !== undefined) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
  return parts.join(" \\\n  ");
}

const address = (path) => new URL(path, document.baseURI.split("#")[0]).href;

const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
