import OpenAI from 'openai';

/** What came of one stream. */
export interface Outcome {
  readonly prompt: string;
  readonly text: string;
  readonly reason: string | null;
  readonly error: string | null;
  /** Of HTTP, where the error came instead of a stream. */
  readonly status: number | null;
  readonly elapsedMs: number;
  /** When each piece came, on this process's clock. */
  readonly piecesMs: readonly number[];
}

export interface StreamOptions {
  readonly tokens: number;
  /** Of each request, on the server. */
  readonly timeoutMs: number;
  /** Told of each piece that came. */
  readonly onPiece?: () => void;
}

/** Streams one answer to its end, or to its error. */
export async function stream(url: string, prompt: string, options: StreamOptions): Promise<Outcome> {
  const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0, timeout: 10 * 60_000 });
  const startMs = performance.now();
  const piecesMs = [startMs];
  let text = '';
  let reason: string | null = null;
  let error: string | null = null;
  let status: number | null = null;
  try {
    const request = {
      model: 'chaos',
      prompt,
      max_tokens: options.tokens,
      temperature: 0.7,
      seed: 7,
      ignore_eos: true,
      timeout_ms: options.timeoutMs,
      stream: true,
    } as const;
    for await (const { choices } of await openai.completions.create({
      ...request,
      model: await modelOf(openai),
    })) {
      text += choices[0]?.text ?? '';
      reason = choices[0]?.finish_reason ?? reason;
      piecesMs.push(performance.now());
      options.onPiece?.();
    }
  } catch (thrown) {
    const isOfApi = thrown instanceof OpenAI.APIError;
    error = isOfApi ? `${String(thrown.code)}: ${thrown.message}` : String(thrown);
    status = isOfApi ? ((thrown.status as number | undefined) ?? null) : null;
  }
  return { prompt, text, reason, error, status, elapsedMs: performance.now() - startMs, piecesMs };
}

async function modelOf(openai: OpenAI): Promise<string> {
  const models = await openai.models.list();
  return models.data[0]?.id ?? '';
}

/** The longest time that a stream waited for its next piece. */
export function longestGapMs({ piecesMs }: Outcome): number {
  let longestMs = 0;
  for (let index = 1; index < piecesMs.length; index++)
    longestMs = Math.max(longestMs, (piecesMs[index] ?? 0) - (piecesMs[index - 1] ?? 0));
  return longestMs;
}

/** Clients that each ask for one text after the other, until they are told to stop. */
export class Clients {
  readonly outcomes: Outcome[] = [];
  #isStopped = false;
  readonly #done: Promise<unknown>;

  constructor(url: string, prompts: readonly string[], options: StreamOptions) {
    this.#done = Promise.all(
      prompts.map(async (prompt) => {
        while (!this.#isStopped) this.outcomes.push(await stream(url, prompt, options));
      }),
    );
  }

  /** Lets each client finish its stream. */
  async stop(): Promise<readonly Outcome[]> {
    this.#isStopped = true;
    await this.#done;
    return this.outcomes;
  }
}
