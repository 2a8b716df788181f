// The event stream: one connection that follows what the page shows, and says when it is lost.

const SILENCE_MS = 12000; // the service sends something at least every 5 s
const RETRY_MS = 2000;

export class Stream {
  #source = null;
  #url = "";
  #heardAt = Date.now();
  #retry = 0;

  /** `onEvent` gets each event; `onLost` the time of the last one, when no more come. */
  constructor(onEvent, onLost) {
    this.onEvent = onEvent;
    this.onLost = onLost;
    // A connection can be open and dead: a stopped process says nothing and closes nothing.
    setInterval(() => {
      if (Date.now() - this.#heardAt < SILENCE_MS) return;
      this.onLost(this.#heardAt);
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
      this.onEvent(JSON.parse(message.data));
    };
    source.onerror = () => {
      if (source !== this.#source) return;
      this.onLost(this.#heardAt);
      // The browser tries again by itself, except after an answer that is no stream.
      if (source.readyState === EventSource.CLOSED) {
        this.#retry = setTimeout(() => this.#connect(), RETRY_MS);
      }
    };
  }
}
