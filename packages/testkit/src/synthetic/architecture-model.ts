import { readFileSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { ensure, silentLogger } from '@butterfly/common';
import {
  type Quantize,
  type WantedTensor,
  loadGgml,
  loadQuantizer,
  rowBytes,
  typeTraits,
  wantedTensors,
} from '@butterfly/ggml';
import { alignGguf, encodeGgufHeader, type MetadataEntry, type TensorEntry } from './gguf-encoder.js';
import { graphShapes } from './graph-shapes.js';
import { createRandom } from './random.js';
import { successorsOf } from './shape.js';
import { syntheticTokenizer } from './vocabulary.js';

/** A value of the metadata: whole numbers, floats as `{ "f": 1.5 }`, and signed numbers as `{ "i": -1 }`. */
type FixtureValue =
  | number
  | string
  | boolean
  | readonly (number | string | boolean)[]
  | { readonly f: number | readonly number[] }
  | { readonly i: number | readonly number[] };

/** A tiny model of one of llama.cpp's architectures: its metadata; the tensors are those that llama.cpp asks for. */
export interface ArchitectureFixture {
  readonly name: string;
  /** `general.architecture`. */
  readonly architecture: string;
  /** Without the prefix of the architecture; keys that have none in llama.cpp either are told by `commonKey`. */
  readonly metadata: Readonly<Record<string, FixtureValue>>;
  /** Optional tensors that it has; a `*` stands for each layer. */
  readonly optional: readonly string[];
  /** Tokens; 320 by default. */
  readonly vocabulary?: number;
  /** Of large models: other sizes with which it has the same tensors, only smaller. */
  readonly small?: ArchitectureFixture['metadata'];
  /** As in `SyntheticModelOptions`: layers add nothing, and after each token comes its successor; needs `output.weight`. */
  readonly circleTokens?: number;
  /**
   * Whether it has the layers behind the last that predict the token after the next one. In a model of circles such a layer
   * hands the embedding of the next token on.
   */
  readonly hasHeads?: boolean;
}

/** Types of matrices. */
export type MatrixType = 'F16' | 'Q8_0' | 'Q4_0' | 'Q4_K';

const types = { F32: 0, F16: 1, Q4_0: 2, Q8_0: 8, Q4_K: 12, MXFP4: 39 } as const;
const table = new URL('../../architectures.jsonl', import.meta.url);
const usualVocabulary = 320;
/** Rows of larger tensors repeat after so many elements: it is the same work to compute with them, and little to draw them. */
const distinctElements = 2 ** 22;
const commonKey = /^(?:tokenizer|xielu)\./u;

/** All fixtures, one for each line of `architectures.jsonl`. */
export function architectureFixtures(): ArchitectureFixture[] {
  const lines = readFileSync(table, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as ArchitectureFixture);
}

/** What a file of a model begins with. */
export interface ArchitectureHeader {
  /** With a vocabulary. */
  readonly metadata: Readonly<Record<string, MetadataEntry>>;
  readonly tensors: readonly TensorEntry[];
  /** Of all tensors, with what pads them. */
  readonly dataBytes: number;
}

/**
 * What the file of such a model begins with, which costs much less than its weights.
 * @throws ButterflyError COMPUTE_INVALID where llama.cpp builds no such model
 */
export function architectureHeader(fixture: ArchitectureFixture, matrices: MatrixType): ArchitectureHeader {
  const ggml = loadGgml({ log: silentLogger });
  let offset = 0;
  const tensors = tensorsOf(fixture).map((tensor) => {
    const type = types[typeOf(fixture, tensor, matrices)];
    const shape = tensor.shape.slice(0, 1 + tensor.shape.slice(1).findLastIndex((each) => each > 1) + 1);
    const [columns = 1, ...others] = shape;
    const entry: TensorEntry = { name: tensor.name, type, shape, offset };
    offset += alignGguf(others.reduce((product, each) => product * each, rowBytes(ggml, type, columns)));
    return entry;
  });
  return {
    metadata: { ...metadataOf(fixture), ...syntheticTokenizer('llama', vocabularyOf(fixture)) },
    tensors,
    dataBytes: offset,
  };
}

/**
 * Writes a model with random weights, the same bytes each time.
 * @throws ButterflyError COMPUTE_INVALID where llama.cpp builds no such model
 */
export async function writeArchitectureModel(
  path: string,
  fixture: ArchitectureFixture,
  matrices: MatrixType,
): Promise<void> {
  const { metadata, tensors } = architectureHeader(fixture, matrices);
  const quantize = loadQuantizer();
  const file = await open(path, 'w');
  try {
    await file.writeFile(encodeGgufHeader(metadata, tensors));
    for (const tensor of tensors) await writeTensor(file, fixture, tensor, quantize);
  } finally {
    await file.close();
  }
}

async function writeTensor(
  file: FileHandle,
  fixture: ArchitectureFixture,
  tensor: TensorEntry,
  quantize: Quantize,
): Promise<void> {
  const [columns = 1, ...others] = tensor.shape;
  const rows = others.reduce((product, each) => product * each, 1);
  const distinct = Math.min(rows, Math.max(1, Math.floor(distinctElements / columns)));
  const word = wordOf(fixture, tensor);
  const data = quantize(tensor.type, valuesOf(fixture, tensor, columns * distinct), distinct, columns);
  const rowBytes = data.byteLength / distinct;
  for (let row = 0; row < rows; row += distinct) {
    const count = Math.min(distinct, rows - row);
    await file.writeFile(
      word
        ? quantize(
            tensor.type,
            wordRows(columns, count, (index) => word(row + index)),
            count,
            columns,
          )
        : data.subarray(0, count * rowBytes),
    );
  }
  const bytes = rows * rowBytes;
  await file.writeFile(new Uint8Array(alignGguf(bytes) - bytes));
}

/** In a model of circles: the word that a row of the embedding stands for, or of the matrix of the output. */
function wordOf(fixture: ArchitectureFixture, { name }: TensorEntry): ((row: number) => number) | null {
  if (fixture.circleTokens === undefined) return null;
  if (name === 'token_embd.weight') return (row) => row;
  return name === 'output.weight' ? successorsOf(fixture.circleTokens, vocabularyOf(fixture)).before : null;
}

function wordRows(columns: number, count: number, wordAt: (index: number) => number): Float32Array {
  const values = new Float32Array(columns * count);
  for (let index = 0; index < count; index++)
    createRandom(`word ${wordAt(index)}`).fillNormal(
      values.subarray(index * columns, (index + 1) * columns),
      0,
      1 / Math.sqrt(columns),
    );
  return values;
}

/** What adds to the rows between layers. */
const closing = /(?:attn_output|ssm_out|ffn_down)\.weight$/u;

/** With shapes; llama.cpp makes memory for those that it is asked for, which large models are spared. */
function tensorsOf(fixture: ArchitectureFixture): readonly WantedTensor[] {
  const { small } = fixture;
  if (!small) return askForTensors(fixture);
  const named = askForTensors({ ...fixture, metadata: { ...fixture.metadata, ...small } });
  const tensors = named.map(({ name }, i) => ({
    name,
    type: types.F32,
    shape: [1],
    offset: alignGguf(4) * i,
  }));
  const metadata = { ...metadataOf(fixture), 'tokenizer.ggml.model': text('none') };
  const shapes = graphShapes(loadGgml({ log: silentLogger }), encodeGgufHeader(metadata, tensors));
  return named.map(({ name }) => {
    const shape = shapes.get(name);
    ensure(shape !== undefined, () => `No graph of ${fixture.name} reads ${name}.`);
    return { name, shape };
  });
}

/** llama.cpp wants the header to have as many tensors as it makes, whatever they are called. */
function askForTensors(fixture: ArchitectureFixture): readonly WantedTensor[] {
  const ggml = loadGgml({ log: silentLogger });
  const layers = Number(fixture.metadata.block_count);
  const optional = fixture.optional.flatMap((name) =>
    name.includes('*')
      ? Array.from({ length: layers }, (_, layer) => name.replace('*', String(layer)))
      : [name],
  );
  const attempt = (fillers: number): ReturnType<typeof wantedTensors> => {
    const names = [...optional, ...Array.from({ length: fillers }, (_, i) => `filler.${i}`)];
    const tensors = names.map((name, i) => ({ name, type: types.F32, shape: [1], offset: alignGguf(4) * i }));
    const metadata = { ...metadataOf(fixture), 'tokenizer.ggml.model': text('none') };
    return wantedTensors(ggml, encodeGgufHeader(metadata, tensors), fixture.hasHeads);
  };
  const first = attempt(0);
  if (first.tensors.length > 0) return first.tensors;
  const [, expected, got] = /expected (\d+), got (\d+)/u.exec(first.errors.join(' ')) ?? [];
  const second = expected === undefined ? first : attempt(Number(got) - Number(expected));
  ensure(
    second.tensors.length > 0,
    () => `llama.cpp builds no model of ${fixture.name}: ${second.errors.join(' ')}`,
  );
  return second.tensors;
}

/** Without a name of the model: by `phi3` in it llama.cpp would want a token that this vocabulary has not. */
function metadataOf(fixture: ArchitectureFixture): Record<string, MetadataEntry> {
  const { architecture, metadata } = fixture;
  const own = Object.entries(metadata).map(
    ([key, value]) => [commonKey.test(key) ? key : `${architecture}.${key}`, entryOf(value)] as const,
  );
  return {
    'general.architecture': text(architecture),
    [`${architecture}.vocab_size`]: { type: 'u32', value: vocabularyOf(fixture) },
    ...Object.fromEntries(own),
  };
}

const vocabularyOf = ({ vocabulary = usualVocabulary }: ArchitectureFixture): number => vocabulary;

const text = (value: string): MetadataEntry => ({ type: 'string', value });

function entryOf(value: FixtureValue): MetadataEntry {
  if (typeof value === 'string') return text(value);
  if (typeof value === 'boolean') return { type: 'bool', value };
  if (typeof value === 'number') return { type: 'u32', value };
  if ('f' in value)
    return typeof value.f === 'number' ? { type: 'f32', value: value.f } : { type: 'f32s', value: value.f };
  if ('i' in value)
    return typeof value.i === 'number' ? { type: 'i32', value: value.i } : { type: 'i32s', value: value.i };
  if (value.every((each) => typeof each === 'string')) return { type: 'strings', value };
  if (value.every((each) => typeof each === 'boolean')) return { type: 'bools', value };
  return { type: 'u32s', value: value.map(Number) };
}

/** Norms, biases, routers, and what belongs to states and convolutions, stay in F32, as converters leave them. */
function typeOf(
  { architecture }: ArchitectureFixture,
  { name, shape }: WantedTensor,
  matrices: MatrixType,
): keyof typeof types {
  const isOfExperts = name.includes('_exps.');
  if (architecture === 'gpt-oss' && isOfExperts && name.endsWith('.weight')) return 'MXFP4';
  const isPlain =
    shape.slice(1).every((each) => each === 1) ||
    !name.endsWith('.weight') ||
    /norm|conv|time_mix_(?:first|lerp_fused|[wvag][012]|decay_w[12])|ssm_a|ssm_d|ffn_gate_inp|ssm_dt|altup|laurel|per_layer|token_types|position_embd/u.test(
      name,
    );
  if (isPlain) return 'F32';
  // Quantisers of K types fall back as well, where rows are no whole blocks.
  const ggml = loadGgml({ log: silentLogger });
  const candidates: readonly MatrixType[] = matrices === 'Q4_K' ? [matrices, 'Q8_0'] : [matrices];
  return candidates.find((each) => (shape[0] ?? 1) % typeTraits(ggml, types[each]).blockSize === 0) ?? 'F32';
}

/** Each row takes the number of its own position, of the first half: that of the embedding. */
function handOn(values: Float32Array, columns: number): Float32Array {
  for (let row = 0; row * columns < values.length; row++) values[row * columns + row] = 1;
  return values;
}

/** Random numbers that keep activations about as large as they are. */
function valuesOf(
  { name: model, circleTokens }: ArchitectureFixture,
  { name, shape }: WantedTensor,
  count: number,
): Float32Array {
  const values = new Float32Array(count);
  if (circleTokens !== undefined && closing.test(name)) return values;
  if (circleTokens !== undefined && name.endsWith('nextn.eh_proj.weight'))
    return handOn(values, shape[0] ?? 1);
  const isNorm = name.includes('norm') && name.endsWith('weight');
  const isMatrix = shape.slice(1).some((each) => each > 1);
  const deviation = isNorm ? 0.1 : isMatrix ? 1 / Math.sqrt(shape[0] ?? 1) : 0.1;
  createRandom(`${model} ${name}`).fillNormal(values, isNorm ? 1 : 0, deviation);
  if (name.includes('rope_f')) values.forEach((_, i) => (values[i] = 1 + i / 4));
  if (name.endsWith('ssm_a')) values.forEach((value, i) => (values[i] = -Math.abs(value) - 0.05));
  if (name.startsWith('token_embd.')) values.forEach((value, i) => (values[i] = value * 4));
  return values;
}
