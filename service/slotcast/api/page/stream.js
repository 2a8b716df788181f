// The event stream: one connection that follows what the page shows, and says when it is lost, and why.

const SILENCE_MS = 12000; // the service sends something at least every 5 s
const RETRY_MS = 2000;

export class Stream {
  #source = null;
  #url = "";
  #heardAt = Date.now();
  #heard = false;
  #retry = 0;
  #why = ""; // what the service said when it last refused the stream

  /**
   * `onEvent` gets each event. When no more come, `onLost` gets the time of the last one (null: there
   * was none), and the service's reason if it refused.
   */
  constructor(onEvent, onLost) {
    this.onEvent = onEvent;
    this.onLost = onLost;
    // A connection can be open and dead: a stopped process says nothing and closes nothing.
    setInterval(() => {
      if (Date.now() - this.#heardAt < SILENCE_MS) return;
      this.#lose();
      if (this.#source?.readyState === EventSource.OPEN) this.#connect();
    }, 2000);
  }

  /** Follow what these parameters say from now on; undefined and empty ones are left out. */
  watch(parameters) {
    const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "");
    const url = `events?${new URLSearchParams(given)}`;
    if (url === this.#url) return;
    this.#url = url;
    this.#connect();
  }

  #connect() {
    clearTimeout(this.#retry);
    this.#source?.close();
    const source = new EventSource(this.#url);
    this.#source = source;
    source.onmessage = (message) => {
      if (source !== this.#source) return;
      this.#heardAt = Date.now();
      this.#heard = true;
      this.#why = "";
      this.onEvent(JSON.parse(message.data));
    };
    source.onerror = () => {
      if (source !== this.#source) return;
      this.#lose();
      // The browser tries again by itself, except after an answer that is no stream.
      if (source.readyState === EventSource.CLOSED) {
        this.#retry = setTimeout(() => this.#connect(), RETRY_MS);
        this.#ask(source);
      }
    };
  }

  #lose() {
    this.onLost(this.#heard ? this.#heardAt : null, this.#why);
  }

  /** Why was this one refused? A source does not say, so ask again in a way that does. */
  async #ask(source) {
    const why = await refusal(this.#url);
    if (source !== this.#source || !why) return;
    this.#why = why;
    this.#lose();
  }
}

/** What the service says against a request; "" where it would answer, or does not at all. */
async function refusal(url) {
  const asking = new AbortController();
  try {
    const answer = await fetch(url, { signal: asking.signal });
    if (answer.ok) return "";
    const problem = await answer.json();
    return problem.detail ?? problem.title ?? "";
  } catch {
    return "";
  } finally {
    asking.abort(); // an answer that is a stream has no end
  }
}
