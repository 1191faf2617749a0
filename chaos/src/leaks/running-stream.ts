import { Agent, request } from 'node:http';

const tokens = 200;
/** Of each request, on the server: longer than any recovery. */
const timeoutMs = 120_000;

/** So many broken streams are no accident. */
const brokenMax = 10;

/** A client that has one text streamed after the other until it is stopped. */
export class RunningStream {
  /** Parts of answers that came so far. */
  pieces = 0;
  /** Streams that came to their end, and what the others came to. */
  ended = 0;
  readonly broken: string[] = [];
  readonly #agent = new Agent({ keepAlive: true });
  readonly #done: Promise<void>;
  #isStopped = false;

  constructor(private readonly url: string) {
    this.#done = this.#run();
  }

  /** Lets the last one come to its end. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#done;
    this.#agent.destroy();
  }

  async #run(): Promise<void> {
    while (!this.#isStopped && this.broken.length < brokenMax) {
      const end = await this.#stream().catch(String);
      if (end.endsWith('[DONE]')) this.ended++;
      else this.broken.push(end);
    }
  }

  /** The last words of a stream. */
  #stream(): Promise<string> {
    const body = { model: 'model', prompt: 'Once upon a time', max_tokens: tokens, ignore_eos: true };
    return new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json' };
      const asked = request(
        `${this.url}/v1/completions`,
        { method: 'POST', agent: this.#agent, headers },
        (response) => {
          let last = '';
          response.on('data', (bytes: Buffer) => {
            this.pieces++;
            last = (last + bytes.toString()).slice(-1_000);
          });
          response.on('end', () => resolve(last.trimEnd()));
          response.on('error', reject);
        },
      );
      asked.on('error', reject);
      asked.end(JSON.stringify({ ...body, temperature: 0, timeout_ms: timeoutMs, stream: true }));
    });
  }
}
