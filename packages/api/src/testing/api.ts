import { soleModel } from '../sole-model.js';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { ButterflyError, deadlines, type Observer, systemClock } from '@butterfly/common';
import type {
  EmbedEvent,
  EmbedRequest,
  Embedder,
  Embedding,
  Engine,
  EngineStatus,
  GenerateEvent,
  GenerateRequest,
  Generation,
} from '@butterfly/engine';
import { checkRequest } from '@butterfly/engine/testing';
import type { Vocabulary } from '@butterfly/ggml';
import { PromptMaker } from '@butterfly/text';
import OpenAI from 'openai';
import type { ApiAccess, ApiContext, ClusterAdministration, HttpSettings, Resumption } from '../context.js';
import { type ConnectionBounds, usualBounds } from '../http/connection-bounds.js';
import { createApi } from '../server.js';

const bos = 256;
const eos = 257;
/** A token of 64 KiB, to fill the buffers of a slow client. */
export const hugeToken = 258;

/** One token for each byte, and a few special ones. */
const byteVocabulary: Vocabulary = {
  size: 259,
  bos,
  eos,
  addsBos: true,
  addsEos: false,
  separator: null,
  infill: null,
  endOfGenerationTokens: new Set([eos]),
  specialTokens: [
    { token: bos, text: '<s>', isAlwaysRead: false },
    { token: eos, text: '</s>', isAlwaysRead: false },
  ],
  tokenize(text, { addSpecial, parseSpecial }) {
    longestTokenized.characters = Math.max(longestTokenized.characters, text.length);
    const parts = parseSpecial ? text.split(/(<s>|<\/s>)/) : [text];
    const tokens = parts.flatMap((part) =>
      part === '<s>' ? [bos] : part === '</s>' ? [eos] : [...Buffer.from(part)],
    );
    return Int32Array.from(addSpecial ? [bos, ...tokens] : tokens);
  },
  tokenToBytes(token, { special }) {
    if (token < 256) return Uint8Array.of(token);
    if (token === hugeToken) return new Uint8Array(64 * 1024).fill(0x78);
    return special ? Buffer.from(this.tokenText(token)) : new Uint8Array();
  },
  tokenText: (token) => (token === bos ? '<s>' : token === eos ? '</s>' : String.fromCharCode(token)),
  [Symbol.dispose]: () => undefined,
};

/** A token with its log probability. */
interface ScoredLine {
  readonly token: number;
  readonly logprob: number;
}

/** What a test lets the engine say: a token, the end, an error, or waiting: for something, or until it is cancelled. */
type Line = number | ScoredLine | ButterflyError | 'stop' | 'length' | 'hang' | Promise<void>;

/** The longest text that was ever tokenized at once, which nobody else runs during. */
export const longestTokenized = { characters: 0 };

export const say = (text: string): number[] => [...Buffer.from(text)];

/** What an answer knows of whoever waits for it. */
interface Hold {
  readonly cancelled: () => boolean;
  readonly waitForCancel: () => Promise<void>;
  /** Nothing runs for it any more. */
  readonly free: () => void;
}

/** Answers every prompt with its own tokens (BOS aside), one per turn of the event loop, unless told what to say. */
export class EchoEngine implements Engine, Embedder {
  readonly model = {
    generates: true,
    isEncoder: true,
    poolings: ['mean', 'rank'],
    usualPooling: 'mean',
  } as const;
  readonly embedded: EmbedRequest[] = [];
  contextTokensMax = 256;
  state: EngineStatus = {
    ready: true,
    detail: 'All layers are live.',
    running: 0,
    queued: 0,
    retryAfterMs: 0,
  };
  /** Thrown by the next submissions. */
  refusal: ButterflyError | null = null;
  script: (request: GenerateRequest) => readonly Line[] = ({ promptTokens }) =>
    [...promptTokens].filter((token) => token < 256);
  /** What the end of each answer tells. */
  cachedPromptTokens = 0;
  readonly requests: GenerateRequest[] = [];
  cancellations = 0;
  #running = 0;
  #whenIdle: (() => void)[] = [];
  #onSubmit: () => void = () => undefined;

  embeddingTokensMax(): number {
    return 64;
  }

  /** The number of tokens and the first and last of them; as a score, the number alone. */
  embed(request: EmbedRequest): Embedding {
    if (this.refusal) throw this.refusal;
    this.embedded.push(request);
    const { tokens, pooling } = request;
    const numbers =
      pooling === 'rank' ? [tokens.length] : [tokens.length, tokens[0] ?? 0, tokens.at(-1) ?? 0, 0];
    const event: EmbedEvent = {
      kind: 'embedding',
      vector: Float32Array.from(numbers),
      timing: { queuedMs: 0, firstTokenMs: 0, totalMs: 0 },
    };
    return {
      cancel: () => undefined,
      async *[Symbol.asyncIterator]() {
        await nextTurn();
        yield event;
      },
    };
  }

  status(): EngineStatus {
    return { ...this.state, running: this.#running };
  }

  submit(request: GenerateRequest): Generation {
    if (this.refusal) throw this.refusal;
    checkRequest(request, this.contextTokensMax);
    this.requests.push(request);
    const free = this.#hold();
    this.#onSubmit();
    let cancelled = false;
    let wake: () => void = () => undefined;
    const cancel = () => {
      if (!cancelled) this.cancellations++;
      cancelled = true;
      free();
      wake();
    };
    const waitForCancel = () => new Promise<void>((resolve) => (cancelled ? resolve() : (wake = resolve)));
    // As it is now: a test may change it before anybody reads the answer.
    const { script } = this;
    const events = this.#events(request, script, { cancelled: () => cancelled, waitForCancel, free });
    return { cancel, [Symbol.asyncIterator]: () => events };
  }

  /** Counts a request as running until what it gives is called. */
  #hold(): () => void {
    this.#running++;
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#running--;
      if (this.#running === 0) for (const resolve of this.#whenIdle.splice(0)) resolve();
    };
  }

  /** Resolves when the next request is submitted. */
  submitted(): Promise<void> {
    return new Promise((resolve) => (this.#onSubmit = resolve));
  }

  /** Resolves when nothing runs: all that was held is free. */
  async idle(): Promise<void> {
    if (this.#running > 0) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }

  async *#events(
    request: GenerateRequest,
    script: EchoEngine['script'],
    { cancelled, waitForCancel, free }: Hold,
  ): AsyncGenerator<GenerateEvent, void, undefined> {
    const { cachedPromptTokens } = this;
    const end = (reason: 'stop' | 'length'): GenerateEvent => ({
      kind: 'end',
      reason,
      timing: { queuedMs: 0, firstTokenMs: 0, totalMs: 0 },
      cachedPromptTokens,
    });
    let known = request.knownOutput?.length ?? 0;
    let left = request.outputTokensMax - known;
    try {
      if (left === 0) return yield end('length');
      for (const line of script(request)) {
        await nextTurn();
        if (line === 'hang') {
          await waitForCancel();
          return;
        }
        if (line instanceof Promise) {
          await line;
          continue;
        }
        if (cancelled()) return;
        if (line instanceof ButterflyError) return yield { kind: 'error', error: line };
        if (line === 'stop' || line === 'length') return yield end(line);
        if (known-- > 0) continue;
        const { token, logprob } = typeof line === 'number' ? { token: line, logprob: 0 } : line;
        if (request.stopTokens.has(token)) return yield end('stop');
        yield {
          kind: 'token',
          token,
          ...(request.logprobs === null ? {} : { logprobs: { logprob, top: [] } }),
        };
        if (--left === 0) return yield end('length');
      }
      if (!cancelled()) yield end('stop');
    } finally {
      free();
    }
  }
}

/** Shows the conversation as `role=content|`. */
const template =
  "{{ bos_token }}{% for m in messages %}{% if m.content == 'refuse' %}{{ raise_exception('No such talk') }}{% endif %}{{ m.role }}={{ m.content }}|{% endfor %}";

const echoFacts = {
  architecture: 'echo',
  parameters: 1_234_567_890,
  quantisation: 'F32',
  bytes: 4_938_271_560,
  contextTrained: 512,
  digest: '0'.repeat(64),
  chatTemplate: template,
  capabilities: ['completion'],
};

export interface TestApi extends AsyncDisposable {
  readonly engine: EchoEngine;
  readonly url: string;
  readonly client: OpenAI;
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
  /** Closes the server, as the end of the scope does. */
  close(): Promise<void>;
  /** A bare connection that has sent this text. */
  connect(text: string): Socket;
  /** The same with a chat request. */
  connectChat(body: object): Socket;
}

interface TestModel {
  readonly vocabulary: Vocabulary;
  readonly chatTemplate: string;
  readonly rerankTemplate?: string;
}

type Settings = Partial<
  HttpSettings & {
    readonly host: string;
    readonly access: ApiAccess;
    readonly bounds: Partial<ConnectionBounds>;
    readonly observe: Observer;
    readonly resumption: Resumption;
  }
>;

/** What a server offers that echoes. */
export function apiContext(
  engine: EchoEngine = new EchoEngine(),
  http: Settings = {},
  { vocabulary, ...templates }: TestModel = { vocabulary: byteVocabulary, chatTemplate: template },
): ApiContext {
  return {
    models: soleModel(
      {
        id: 'echo',
        facts: echoFacts,
        engine,
        vocabulary,
        prompts: new PromptMaker({ vocabulary, ...templates }),
      },
      1_700_000_000,
    ),
    observe: http.observe ?? (() => undefined),
    access: http.access ?? { keys: null, isKeyRequired: false },
    clock: systemClock,
    resumption: http.resumption,
    http: { keepAliveMs: deadlines.keepAliveMs, corsOrigins: [], hostNames: [], ...http },
  };
}

/** A real server on a loopback port over an echo engine. */
export async function startApi(
  administration?: ClusterAdministration,
  http: Settings = {},
  model?: TestModel,
): Promise<TestApi> {
  const engine = new EchoEngine();
  const context = apiContext(engine, http, model);
  const app = createApi(administration ? { ...context, administration } : context, null, {
    ...usualBounds,
    ...http.bounds,
  });
  const close = async () => {
    await app.close();
  };
  const url = await app.listen({ host: http.host ?? '127.0.0.1', port: 0 });
  const send = (text: string) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.write(text);
    return socket;
  };
  return {
    engine,
    url,
    client: new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 }),
    post: (path, body, headers = { 'content-type': 'application/json' }) =>
      fetch(url + path, {
        method: 'POST',
        headers,
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    connect: send,
    connectChat(body) {
      const json = JSON.stringify(body);
      const head =
        'POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n';
      return send(`${head}content-length: ${Buffer.byteLength(json)}\r\n\r\n${json}`);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
