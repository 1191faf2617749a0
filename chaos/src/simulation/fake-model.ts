import type { ModelSpec, ModelTensor } from '@butterfly/model';
import type { Logprobs, SamplingParams } from '@butterfly/wire';

/** Floats of one row between stages: the value of the row, and what it is checked by. */
const hidden = 8;
export const vocabulary = 64;
const mib = 2 ** 20;
/** Weights of one layer; what the stages of the simulation load takes time by it, and no memory. */
const layerBytes = 64 * mib;
const endBytes = 32 * mib;
const zeroHash = '0'.repeat(64);

/** Nothing computes with it; checks of plans and of steps read its sizes. */
const graph: ModelSpec['graph'] = {
  kind: 'family',
  family: 'llama',
  heads: 1,
  kvHeads: 1,
  headSize: 32,
  feedForward: 16,
  normEpsilon: 1e-5,
  rope: {
    dimensions: 32,
    base: 10_000,
    kind: 'norm',
    scaling: {
      kind: 'none',
      factor: 1,
      frequencyScale: 1,
      originalContext: 1024,
      extFactor: 0,
      attentionFactor: 1,
      betaFast: 32,
      betaSlow: 1,
    },
    hasFactors: false,
  },
};

/** The last layer reads tokens as the first does, so that they have to come through all stages. */
const tokenLayersOf = (layers: number): number[] => (layers > 1 ? [layers - 1] : []);

/** A model of so many layers, whose weights are nowhere. */
export function fakeSpec(layers: number): ModelSpec {
  const tensors: ModelTensor[] = [];
  let offset = 0;
  const tensor = (name: string, bytes: number): void => {
    tensors.push({ name, type: 8, typeName: 'Q8_0', shape: [hidden], fileIndex: 0, offset, bytes });
    offset += bytes;
  };
  tensor('token_embd.weight', endBytes);
  for (let layer = 0; layer < layers; layer++) tensor(`blk.${layer}.ffn_up.weight`, layerBytes);
  tensor('output_norm.weight', mib);
  tensor('output.weight', endBytes);
  return {
    name: 'simulated',
    architecture: 'llama',
    layers,
    hidden,
    crossings: Array.from({ length: layers - 1 }, () => hidden),
    tokenLayers: tokenLayersOf(layers),
    vocabulary,
    isEncoder: false,
    embedding: { pooling: null, width: hidden, ranks: null },
    contextTrained: 1024,
    attention: Array.from({ length: layers }, () => ({
      heads: 1,
      kvHeads: 1,
      keySize: 32,
      valueSize: 32,
      window: null,
    })),
    sharedTensors: {
      'token_embd.weight': [0],
      'output_norm.weight': [layers - 1],
      'output.weight': [layers - 1],
    },
    graph,
    tiedEmbeddings: false,
    tokenizer: {
      model: null,
      pre: null,
      bos: null,
      eos: null,
      eot: null,
      unknown: null,
      padding: null,
      addsBos: null,
      addsEos: null,
      chatTemplate: null,
      rerankTemplate: null,
    },
    files: [
      {
        path: 'nowhere.gguf',
        bytes: offset,
        metadataBytes: 0,
        metadataSha256: zeroHash,
        weightsSha256: zeroHash,
        stamp: 'none',
      },
    ],
    tensors,
  };
}

/** Two numbers made one, of 32 bits: a change of either changes it. */
export function mix(a: number, b: number): number {
  const x = Math.imul(a ^ Math.imul(b, 0x9e3779b1), 0x85ebca6b);
  return ((x ^ (x >>> 15)) + 0x27d4eb2f) | 0;
}

/** Rows of a sequence, from a position on, in a region of the arena. */
export interface FakeRows {
  readonly regionStart: number;
  readonly positionStart: number;
  readonly values: Int32Array;
  /** Of each row, in a layer that reads them; null in others. */
  readonly tokens: Int32Array | null;
}

/**
 * One layer: caches what comes in, and gives for each row a hash of everything that is cached up to it. An entry that
 * is lost, stale, overwritten or misplaced thus changes all that follows.
 */
export function runLayer(layer: number, cache: Int32Array, rows: FakeRows): Int32Array {
  const { regionStart, positionStart, values, tokens } = rows;
  let state = layer;
  for (let position = 0; position < positionStart; position++)
    state = mix(state, cache[regionStart + position] ?? 0);
  return values.map((value, index) => {
    const position = positionStart + index;
    const cached = mix(mix(value, mix(layer, position)), tokens?.[index] ?? 0);
    cache[regionStart + position] = cached;
    state = mix(state, cached);
    return mix(state, value);
  });
}

/** The token that a row of the last layer gives. */
export function draw(
  value: number,
  position: number,
  sampling: SamplingParams,
  recent: readonly number[],
): number {
  const penalties = recent.reduce(mix, recent.length);
  // Some requests speak in so few words that they repeat themselves, as guesses need it.
  const words = sampling.seed % 2 === 0 ? vocabulary : 3;
  return (mix(mix(value, penalties), mix(position, sampling.seed)) >>> 0) % words;
}

/** What a client asks for. */
export interface FakePrompt {
  readonly promptTokens: Int32Array;
  readonly outputTokensMax: number;
  readonly sampling: SamplingParams;
  readonly logprobs: number | null;
  readonly promptLogprobs: number | null;
  readonly stopTokens: ReadonlySet<number>;
}

export interface FakeText {
  readonly tokens: readonly number[];
  readonly reason: 'stop' | 'length';
  /** Of the tokens that are told, one by one: of the prompt but for its first, where that is wanted. */
  readonly promptLogprobs: readonly number[];
  /** The same of the output. */
  readonly logprobs: readonly number[];
}

/** The log probability of a token behind a row of the last layer, made up. */
export function logprobOf(value: number, token: number): number {
  return -(mix(value, token) >>> 16);
}

/** Of several rows and the tokens behind them. The likeliest are made up of the row too. */
export function logprobsOf(values: Int32Array, tokens: Int32Array, alternatives: number): Logprobs {
  const ranks = Array.from({ length: alternatives }, (_, rank) => rank);
  const top = [...values].flatMap((value) =>
    ranks.map((rank) => ({ value, token: (value + rank) & (vocabulary - 1) })),
  );
  return {
    chosen: Float32Array.from(tokens, (token, index) => logprobOf(values[index] ?? 0, token)),
    alternatives,
    topTokens: Int32Array.from(top, ({ token }) => token),
    topValues: Float32Array.from(top, ({ value, token }) => logprobOf(value, token)),
  };
}

/** What the model says to a prompt, however it is split and whatever else it computes. */
export function reference(layers: number, request: FakePrompt): FakeText {
  const { promptTokens, outputTokensMax, sampling, stopTokens } = request;
  const known = [...promptTokens];
  const caches = Array.from({ length: layers }, () => new Int32Array(known.length + outputTokensMax));
  const promptLogprobs: number[] = [];
  const logprobs: number[] = [];
  let positionStart = 0;
  for (;;) {
    const read = Int32Array.from(known.slice(positionStart));
    const readers = tokenLayersOf(layers);
    let values: Int32Array = read;
    for (const [layer, cache] of caches.entries()) {
      const rows = { regionStart: 0, positionStart, values, tokens: readers.includes(layer) ? read : null };
      values = runLayer(layer, cache, rows);
    }
    if (positionStart === 0 && request.promptLogprobs !== null)
      for (const [index, token] of known.entries())
        if (index > 0) promptLogprobs.push(logprobOf(values[index - 1] ?? 0, token));
    positionStart = known.length;
    const recent = sampling.repeatPenalty === 1 ? [] : known.slice(-64);
    const token = draw(values.at(-1) ?? 0, positionStart, sampling, recent);
    const tokens = known.slice(promptTokens.length);
    const told = { promptLogprobs, logprobs };
    if (outputTokensMax === 0) return { tokens, reason: 'length', ...told };
    if (stopTokens.has(token)) return { tokens, reason: 'stop', ...told };
    known.push(token);
    if (request.logprobs !== null) logprobs.push(logprobOf(values.at(-1) ?? 0, token));
    if (tokens.length + 1 === outputTokensMax)
      return { tokens: [...tokens, token], reason: 'length', ...told };
  }
}

/** Rows on their way to the next stage: each value with what shows that it arrived whole and in its place. */
export function encodeRows(values: Int32Array): Uint8Array {
  const rows = new Int32Array(values.length * hidden);
  for (const [row, value] of values.entries())
    for (let column = 0; column < hidden; column++)
      rows[row * hidden + column] = column === 0 ? value : mix(value, column);
  return new Uint8Array(rows.buffer);
}

/** Null when they are not as `encodeRows` made them. */
export function decodeRows(payload: Uint8Array): Int32Array | null {
  const rows = new Int32Array(new Uint8Array(payload).buffer);
  const values = new Int32Array(rows.length / hidden);
  for (const row of values.keys()) {
    const value = rows[row * hidden] ?? 0;
    for (let column = 1; column < hidden; column++)
      if (rows[row * hidden + column] !== mix(value, column)) return null;
    values[row] = value;
  }
  return values;
}
