// Resets: asked before they are sent, with the service's token where it wants one. The token is asked
// for once and kept for this tab only.

import { at, setText } from "./elements.js";

const TOKEN = "slotcast-token";
const SHOWN_MS = 8000;

export class Resets {
  #wanted = null;
  #hiding = 0;

  constructor() {
    this.dialog = at("asking");
    at("refrain").addEventListener("click", () => this.dialog.close());
    at("asking-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
  }

  instrument(name) {
    this.#ask(name, "Its memory is forgotten, and the next tick begins a new one.", { instruments: [name] });
  }

  partition(number) {
    const text = "The memory of every instrument in it is forgotten. Their next ticks begin new ones.";
    this.#ask(`partition ${number}`, text, { partitions: [number] });
  }

  all() {
    const text = "The memory of every instrument of every worker is forgotten. Their next ticks begin new ones.";
    this.#ask("all instruments", text, { all: true });
  }

  #ask(what, text, body) {
    this.#wanted = { what, body };
    setText(at("asking-title"), `Reset ${what}?`);
    setText(at("asking-said"), `${text} This cannot be undone.`);
    setText(at("asking-fault"), "");
    at("token-field").hidden = true;
    at("confirm").disabled = false;
    this.dialog.showModal();
    at("refrain").focus();
  }

  async #send() {
    const wanted = this.#wanted;
    if (!at("token-field").hidden) sessionStorage.setItem(TOKEN, at("token").value);
    at("token").value = "";
    at("confirm").disabled = true;
    const answer = await post("reset", wanted.body).catch(() => null);
    const said = await answer?.json().catch(() => null);
    if (answer?.ok && said) this.#tell(wanted.what, said);
    // Meanwhile something else may be asked, or nothing: an answer is for its own question.
    if (wanted !== this.#wanted || !this.dialog.open) return;
    at("confirm").disabled = false;
    if (answer?.ok) this.dialog.close();
    else if (answer?.status === 401) this.#wantToken();
    else setText(at("asking-fault"), said?.detail ?? "The service did not answer: try again.");
  }

  #wantToken() {
    const wrong = sessionStorage.getItem(TOKEN) !== null;
    sessionStorage.removeItem(TOKEN);
    at("token-field").hidden = false;
    setText(at("asking-fault"), wrong ? "The service does not take this token." : "The service wants its token.");
    at("token").focus();
  }

  #tell(what, { committed, receipts }) {
    const [{ partition, offset }] = receipts;
    const where = receipts.length === 1 ? `partition ${partition}, offset ${offset}` : `${receipts.length} records`;
    setText(at("done"), committed
      ? `Reset of ${what} is committed (${where}).`
      : `Reset of ${what} is in the log (${where}) and follows; its commit was not seen yet.`);
    clearTimeout(this.#hiding);
    this.#hiding = setTimeout(() => setText(at("done"), ""), SHOWN_MS);
  }
}

function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  const token = sessionStorage.getItem(TOKEN);
  // A header holds bytes: those of the token's UTF-8.
  if (token) headers.Authorization = `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}`;
  return fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
}
