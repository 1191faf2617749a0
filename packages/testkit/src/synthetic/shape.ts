import { ensure } from '@butterfly/common';
import { vocabularyMin } from './vocabulary.js';

/** What a synthetic model looks like. Everything that decides its bytes is here. */
export interface SyntheticModelOptions {
  readonly architecture: 'llama' | 'qwen2' | 'qwen3';
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly feedForward: number;
  /** At least `vocabularyMin`. */
  readonly vocabulary: number;
  readonly tiedEmbeddings: boolean;
  readonly type: SyntheticType;
  readonly seed: number;
  readonly contextTrained: number;
  /** 10,000 by default. */
  readonly ropeBase?: number;
  readonly ropeScaling?: {
    readonly type: 'linear' | 'yarn';
    readonly factor: number;
    readonly originalContext?: number;
  };
  /** Adds `rope_freqs.weight` as Llama 3.1 has; for `llama` only. */
  readonly ropeFactors?: boolean;
  /** Adds the optional biases of attention and feed-forward; for `llama` only (`qwen2` has its own always). */
  readonly biases?: boolean;
  /** Number of files; 1 by default. */
  readonly split?: number;
  /**
   * Makes text that can be foretold, at the price of a whole model: the layers add nothing, and after each token comes
   * its successor. In the lower half of the vocabulary (from `vocabularyMin` on) successors run in circles of so many
   * tokens, in the upper half in one circle. Needs embeddings that are not tied.
   */
  readonly circleTokens?: number;
  /** Jinja source; none by default. */
  readonly chatTemplate?: string;
}

export type SyntheticType = keyof typeof syntheticTypes;

/** Number and block of the types that can be written, and `general.file_type` of a model in them. */
export const syntheticTypes = {
  F32: { id: 0, blockSize: 1, blockBytes: 4, fileType: 0 },
  F16: { id: 1, blockSize: 1, blockBytes: 2, fileType: 1 },
  BF16: { id: 30, blockSize: 1, blockBytes: 2, fileType: 32 },
  Q4_0: { id: 2, blockSize: 32, blockBytes: 18, fileType: 2 },
  Q8_0: { id: 8, blockSize: 32, blockBytes: 34, fileType: 7 },
  Q4_K: { id: 12, blockSize: 256, blockBytes: 144, fileType: 14 },
  Q6_K: { id: 14, blockSize: 256, blockBytes: 210, fileType: 18 },
} as const;

/** A tensor to write: its values are normal with this mean and deviation. */
export interface PlannedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: SyntheticType;
  readonly mean: number;
  readonly deviation: number;
  /** Rows with the same key are the same, in whatever tensor; without it, each row has values of its own. */
  readonly rowKey?: (row: number) => string;
}

/** Tensors in file order. */
export function planTensors(options: SyntheticModelOptions): PlannedTensor[] {
  checkShape(options);
  ensure(
    options.circleTokens === undefined || !options.tiedEmbeddings,
    () => 'circles need embeddings that are not tied',
  );
  const { hidden, vocabulary, headSize } = options;
  const matrix = (name: string, columns: number, rows: number): PlannedTensor => ({
    name: `${name}.weight`,
    shape: [columns, rows],
    type: typeForRows(options.type, columns),
    mean: 0,
    // Keeps activations near 1 however wide the layer.
    deviation: 1 / Math.sqrt(columns),
  });
  const { circleTokens } = options;
  const successors = circleTokens === undefined ? null : successorsOf(circleTokens, vocabulary);
  const word = (token: number): string => `word ${token}`;
  return [
    { ...matrix('token_embd', hidden, vocabulary), ...(successors && { rowKey: word }) },
    ...Array.from({ length: options.layers }, (_, layer) =>
      planLayer(options, `blk.${layer}.`, matrix),
    ).flat(),
    vector('output_norm.weight', hidden, 1),
    ...(options.tiedEmbeddings
      ? []
      : [
          {
            ...matrix('output', hidden, vocabulary),
            ...(successors && { rowKey: (row: number) => word(successors.before(row)) }),
          },
        ]),
    ...(options.ropeFactors ? [vector('rope_freqs.weight', headSize / 2, 2)] : []),
  ];
}

function planLayer(
  options: SyntheticModelOptions,
  prefix: string,
  matrix: (name: string, columns: number, rows: number) => PlannedTensor,
): PlannedTensor[] {
  const { architecture, hidden, headSize, feedForward } = options;
  const query = options.heads * headSize;
  const keyValue = options.kvHeads * headSize;
  const closing = (name: string, columns: number): PlannedTensor => ({
    ...matrix(`${prefix}${name}`, columns, hidden),
    ...(options.circleTokens !== undefined && { deviation: 0 }),
  });
  const bias = (name: string, size: number): PlannedTensor => vector(`${prefix}${name}.bias`, size, 0);
  return [
    vector(`${prefix}attn_norm.weight`, hidden, 1),
    matrix(`${prefix}attn_q`, hidden, query),
    matrix(`${prefix}attn_k`, hidden, keyValue),
    matrix(`${prefix}attn_v`, hidden, keyValue),
    ...(architecture === 'qwen2' || options.biases
      ? [bias('attn_q', query), bias('attn_k', keyValue), bias('attn_v', keyValue)]
      : []),
    ...(architecture === 'qwen3'
      ? [
          vector(`${prefix}attn_q_norm.weight`, headSize, 1),
          vector(`${prefix}attn_k_norm.weight`, headSize, 1),
        ]
      : []),
    closing('attn_output', query),
    ...(options.biases ? [bias('attn_output', hidden)] : []),
    vector(`${prefix}ffn_norm.weight`, hidden, 1),
    matrix(`${prefix}ffn_gate`, hidden, feedForward),
    matrix(`${prefix}ffn_up`, hidden, feedForward),
    closing('ffn_down', feedForward),
    ...(options.biases
      ? [bias('ffn_gate', feedForward), bias('ffn_up', feedForward), bias('ffn_down', hidden)]
      : []),
  ];
}

/** Which token comes after and before which, see `circleTokens`. */
export function successorsOf(
  circleTokens: number,
  vocabulary: number,
): { readonly after: (token: number) => number; readonly before: (token: number) => number } {
  const half = vocabulary >> 1;
  const turn = (token: number, by: 1 | -1): number => {
    // Bytes and special tokens have no place in a text.
    if (token < vocabularyMin) return token;
    const inCircle = token < half ? (token - vocabularyMin) % circleTokens : token - half;
    const start = token - inCircle;
    const size = token < half ? Math.min(circleTokens, half - start) : vocabulary - half;
    return start + ((inCircle + by + size) % size);
  };
  return { after: (token) => turn(token, 1), before: (token) => turn(token, -1) };
}

/** Norms, biases and factors stay F32, as llama.cpp's quantizer leaves them. */
function vector(name: string, size: number, mean: number): PlannedTensor {
  return { name, shape: [size], type: 'F32', mean, deviation: 0.1 };
}

/** Rows that are no whole blocks of the wanted type take Q8_0, and failing that F32. */
function typeForRows(wanted: SyntheticType, columns: number): SyntheticType {
  const candidates: readonly SyntheticType[] = [wanted, 'Q8_0'];
  return candidates.find((type) => columns % syntheticTypes[type].blockSize === 0) ?? 'F32';
}

/** Bytes of a tensor in the file, padding excluded. */
export function plannedBytes({ shape, type }: PlannedTensor): number {
  const { blockSize, blockBytes } = syntheticTypes[type];
  return (shape.reduce((product, dimension) => product * dimension, 1) / blockSize) * blockBytes;
}

function checkShape(options: SyntheticModelOptions): void {
  const { architecture, hidden, heads, kvHeads, headSize } = options;
  ensure(heads % kvHeads === 0, () => `${heads} heads are no multiple of ${kvHeads}`);
  ensure(headSize % 2 === 0, () => `a head of ${headSize} elements cannot be rotated`);
  ensure(
    architecture !== 'qwen2' || heads * headSize === hidden,
    () => 'the heads of qwen2 make up its hidden size',
  );
  ensure(
    architecture === 'llama' || !(options.biases ?? options.ropeFactors),
    () => `${architecture} has no such option`,
  );
}
