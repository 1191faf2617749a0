/** What a completion stream said so far. */
export interface StreamProgress {
  /** Events with text. */
  readonly pieces: number;
  /** Null until the server counted its tokens. */
  readonly outputTokens: number | null;
  readonly promptTokens: number | null;
  readonly isDone: boolean;
}

const prefix = 'data: ';
const eventEnd = '\n\n';

/**
 * Reads the server-sent events of `/v1/completions` as they come, split anywhere. It counts more than it parses, since
 * it shares its machine with the server that it measures.
 */
export class SseScanner {
  #rest = '';
  #pieces = 0;
  #outputTokens: number | null = null;
  #promptTokens: number | null = null;
  #isDone = false;

  /** @param onText gets the text of each piece, which costs a parse of each event; null to go without. */
  constructor(private readonly onText: ((text: string) => void) | null) {}

  get progress(): StreamProgress {
    return {
      pieces: this.#pieces,
      outputTokens: this.#outputTokens,
      promptTokens: this.#promptTokens,
      isDone: this.#isDone,
    };
  }

  /**
   * @param chunk whole characters
   * @returns how many pieces it completed
   * @throws Error for an error event or what is no event
   */
  push(chunk: string): number {
    const before = this.#pieces;
    const text = this.#rest + chunk;
    let start = 0;
    for (let end = text.indexOf(eventEnd); end >= 0; end = text.indexOf(eventEnd, start)) {
      this.#event(text.slice(start, end));
      start = end + eventEnd.length;
    }
    this.#rest = text.slice(start);
    return this.#pieces - before;
  }

  #event(event: string): void {
    // A comment, by which a silent server keeps the connection.
    if (event.startsWith(':')) return;
    if (!event.startsWith(prefix)) throw new Error(`This is no event: ${event}`);
    // Inside a JSON string the quotes would be escaped, so these find fields only.
    if (event.includes('"finish_reason":null')) {
      this.#pieces++;
      this.onText?.(textOf(event));
    } else if (event === `${prefix}[DONE]`) this.#isDone = true;
    else if (event.includes('"finish_reason":"')) {
      this.onText?.(textOf(event));
      // Where llama-server tells it.
      this.#count(event);
    } else if (!this.#count(event)) throw new Error(`The stream failed: ${event}`);
  }

  /** False where it tells no tokens. */
  #count(event: string): boolean {
    const output = /"completion_tokens":(\d+)/.exec(event)?.[1];
    if (output === undefined) return false;
    this.#outputTokens = Number(output);
    this.#promptTokens = Number(/"prompt_tokens":(\d+)/.exec(event)?.[1]);
    return true;
  }
}

function textOf(event: string): string {
  const { choices } = JSON.parse(event.slice(prefix.length)) as { choices: readonly { text: string }[] };
  return choices[0]?.text ?? '';
}
