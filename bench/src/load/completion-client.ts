import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import type { RequestRecord } from './run-load.js';
import { SseScanner } from './sse-scanner.js';
import type { LoadRequest } from './traffic.js';

/** Long enough for any request of a benchmark; a server that is silent for longer is stuck. */
const silenceMs = 120_000;

export interface CompletionRecord extends RequestRecord {
  readonly promptTokens: number;
  /** Empty unless it was asked for. */
  readonly text: string;
}

/** Streams completions from a server over kept connections. */
export class CompletionClient implements Disposable {
  readonly #agent: Agent;

  /**
   * @param url such as `http://127.0.0.1:8080`
   * @param keepAlive false for a server that closes kept connections after seconds, whatever is on its way to it
   */
  constructor(
    private readonly url: string,
    keepAlive = true,
  ) {
    this.#agent = new Agent({ keepAlive });
  }

  /**
   * One request from sending it to its end, past tokens that end the text, so that the work is what was planned. A client that hangs up records what it had by then.
   * @param keepText for comparing texts; it costs a parse of every event
   * @throws Error when the server refuses, fails, falls silent or ends early
   */
  complete(request: LoadRequest, keepText = false): Promise<CompletionRecord> {
    const body = JSON.stringify({
      prompt: request.prompt,
      max_tokens: request.outputTokens,
      temperature: request.temperature ?? 0,
      seed: request.seed ?? 0,
      ignore_eos: true,
      stream: true,
      stream_options: { include_usage: true },
    });
    return new Promise((resolve, reject) => {
      const startMs = performance.now();
      const outgoing = httpRequest(
        `${this.url}/v1/completions`,
        {
          method: 'POST',
          agent: this.#agent,
          timeout: silenceMs,
          headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
        },
        (response) => {
          receive(response, startMs, keepText, request.hangUpAfter ?? Infinity).then(resolve, reject);
        },
      );
      outgoing.on('timeout', () => outgoing.destroy(new Error(`The server was silent for ${silenceMs} ms.`)));
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

async function receive(
  response: IncomingMessage,
  startMs: number,
  keepText: boolean,
  hangUpAfter: number,
): Promise<CompletionRecord> {
  response.setEncoding('utf8');
  const chunks = response as AsyncIterable<string>;
  if (response.statusCode !== 200) {
    let answer = '';
    for await (const chunk of chunks) answer += chunk;
    throw new Error(`The server answered ${response.statusCode ?? 0}: ${answer}`);
  }
  let text = '';
  const scanner = new SseScanner(keepText ? (piece) => (text += piece) : null);
  const piecesMs: number[] = [];
  for await (const chunk of chunks) {
    const nowMs = performance.now();
    for (let pieces = scanner.push(chunk); pieces > 0; pieces--) piecesMs.push(nowMs);
    // Leaving the loop closes the connection.
    if (piecesMs.length >= hangUpAfter)
      return { startMs, piecesMs, tokens: piecesMs.length, promptTokens: 0, text };
  }
  const { outputTokens, promptTokens, isDone } = scanner.progress;
  if (!isDone || outputTokens === null || promptTokens === null)
    throw new Error('The stream ended before its end.');
  return { startMs, piecesMs, tokens: outputTokens, promptTokens, text };
}
