import { basename } from 'node:path';
import OpenAI from 'openai';
import { Butterfly } from './butterfly.js';
import { model } from './models.js';

/** A stage of the plan in force and the process that computes it. */
export interface StageProcess {
  readonly epoch: number;
  readonly layers: readonly [first: number, last: number];
  readonly pid: number;
}

/** `butterfly serve` on ports of its own, at the log level that tells of its workers. */
export class Server extends Butterfly {
  /** As requests call it. */
  readonly modelName: string;

  /**
   * @param options.clusterHost null for the default, with which no other workers are waited for
   * @param options.path null for the model that ships with Butterfly
   */
  constructor(
    args: readonly string[] = [],
    {
      clusterHost = '127.0.0.1',
      path = model,
      env = {},
    }: {
      readonly clusterHost?: string | null;
      readonly path?: string | null;
      readonly env?: Readonly<Record<string, string>>;
    } = {},
  ) {
    const host = clusterHost === null ? [] : ['--cluster-host', clusterHost];
    const file = path === null ? [] : [path];
    // What auto takes follows a measurement: servers that are compared must be told.
    const fixed = ['--threads', '1', '--kv-cache-type', 'f16', '--port', '0', '--cluster-port', '0'];
    const hasWorkers = args.includes('--workers') || args.includes('--device');
    super(['serve', ...file, ...fixed, ...host, ...(hasWorkers ? [] : ['--workers', '1']), ...args], {
      env: { BUTTERFLY_LOG: 'info', ...env },
    });
    this.modelName = basename(path ?? model, '.gguf');
  }

  /** Until the model can be asked. */
  async ready(): Promise<this> {
    await this.line(/^Ready\.$/);
    return this;
  }

  get url(): string {
    return this.#printed(/^API on (\S+)\/v1/);
  }

  /** With which workers join; printed where they may come from elsewhere. */
  get token(): string {
    return this.#printed(/^Join with: BUTTERFLY_TOKEN=(\S+) /);
  }

  get clusterPort(): number {
    return Number(this.#printed(/--join HOST:(\d+)$/));
  }

  get openai(): OpenAI {
    return new OpenAI({ baseURL: `${this.url}/v1`, apiKey: 'none', maxRetries: 0 });
  }

  /** Processes of the local workers, those that ended included. */
  get workerPids(): number[] {
    return this.records('A local worker starts.').map(({ workerPid }) => Number(workerPid));
  }

  /** The stages of the plan in force, first to last. */
  get stages(): StageProcess[] {
    const all = this.records('The stage is ready.') as unknown as StageProcess[];
    const epoch = Math.max(...all.map((stage) => stage.epoch));
    return all.filter((stage) => stage.epoch === epoch).sort((a, b) => a.layers[0] - b.layers[0]);
  }

  /** Waits for a plan that is live after this many others were. */
  async plans(count: number): Promise<void> {
    await this.until(`plan ${count}`, () =>
      this.records('The plan is live.').length >= count ? true : null,
    );
  }

  /**
   * What comes of something while one plan is in force: done again where another one came meanwhile, as it does when workers of a
   * busy machine turn out to be slower than they were, or come back. With a plan, caches and what is verified end.
   */
  async inOnePlan<T>(run: () => Promise<T>): Promise<T> {
    for (;;) {
      const before = this.records('The plan is live.').length;
      const came = await run();
      if (this.records('The plan is live.').length === before) return came;
    }
  }

  post(path: string, body: unknown): Promise<Response> {
    return fetch(this.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
  }

  async status(): Promise<{
    readonly ready: boolean;
    readonly detail: string;
    readonly running: number;
    readonly queued: number;
  }> {
    const response = await fetch(`${this.url}/ready`);
    return (await response.json()) as Awaited<ReturnType<Server['status']>>;
  }

  #printed(pattern: RegExp): string {
    for (const line of this.stdout) {
      const found = pattern.exec(line)?.[1];
      if (found !== undefined) return found;
    }
    throw new Error(`The server has not printed ${String(pattern)}.`);
  }
}

/** A worker from elsewhere that joins the server. */
export function startWorker(
  server: Server,
  args: readonly string[] = [],
  options: { readonly cwd?: string; readonly token?: string } = {},
): Butterfly {
  const { token = server.token, ...rest } = options;
  return new Butterfly(['worker', '--join', `127.0.0.1:${server.clusterPort}`, '--threads', '1', ...args], {
    ...rest,
    env: { BUTTERFLY_TOKEN: token },
  });
}

/** What a stream came to. */
export interface Outcome {
  readonly text: string;
  readonly reason: string | null;
}

/** Streams the likeliest tokens to the end, telling how many pieces have come, and what they say. */
export async function streamFrom(
  server: Server,
  prompt: string,
  maxTokens: number,
  onPiece: (pieces: number, text: string) => void = () => undefined,
): Promise<Outcome> {
  const request = { model: server.modelName, prompt, max_tokens: maxTokens, temperature: 0 };
  let text = '';
  let reason: string | null = null;
  let pieces = 0;
  for await (const { choices } of await server.openai.completions.create({ ...request, stream: true })) {
    text += choices[0]?.text ?? '';
    reason = choices[0]?.finish_reason ?? reason;
    onPiece(++pieces, text);
  }
  return { text, reason };
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
