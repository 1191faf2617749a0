import { fileURLToPath } from 'node:url';
import { ensure, silentLogger } from '@butterfly/common';
import { loadGgml } from '@butterfly/ggml';
import { describeAny, surveyModel } from '@butterfly/llama-graph';
import { type ModelSpec, openGguf, stateSlotsOf } from '@butterfly/model';
import { LocalSource } from '@butterfly/weights';
import { type Pooling, type Step, type StepSequence, emptyState, firstOwnState } from '@butterfly/wire';
import { plainSequence } from '@butterfly/wire/testing';
import type { SplitModel } from '../split-model.js';
import { StageRuntime, type StageOptions } from '../runtime.js';

/** For the tests of this package. */
export const ggml = loadGgml({ log: silentLogger });

/** A model of 5 layers that tells stories. */
export const trainedModel = fileURLToPath(
  new URL('../../../../../shared/models/aidreams-260k.gguf', import.meta.url),
);

/** A model of random weights for which a stage takes milliseconds. */
export const smallModel = {
  architecture: 'llama',
  layers: 3,
  hidden: 256,
  heads: 4,
  kvHeads: 2,
  headSize: 64,
  feedForward: 512,
  vocabulary: 320,
  tiedEmbeddings: true,
  type: 'Q4_0',
  seed: 6,
  contextTrained: 1024,
} as const;

/** Of a model of any architecture; surveys it in this process, so the file must be a sound one. */
export const describeFile = async (path: string): Promise<ModelSpec> =>
  describeAny(await openGguf(path), (request) => Promise.resolve(surveyModel(ggml, request)));

export async function openSource(spec: ModelSpec): Promise<LocalSource> {
  const source = await LocalSource.open(spec);
  ensure(source !== null, () => `${spec.name} cannot be read.`);
  return source;
}

/** A loaded stage; by default all layers, on one thread, with room for 1,024 tokens. */
export async function loadStage(spec: ModelSpec, options: Partial<StageOptions> = {}): Promise<StageRuntime> {
  const runtime = new StageRuntime({
    ggml,
    spec,
    range: { layerStart: 0, layerEnd: spec.layers },
    threads: 1,
    arenaSlots: 1024,
    cacheType: 'f16',
    rowsMax: 64,
    ...options,
  });
  await using source = await openSource(spec);
  await runtime.load(source);
  return runtime;
}

/** The part of a sequence in a step. */
export const part = plainSequence;

export type PlainStep = Pick<Step, 'copies' | 'sequences' | 'payload'>;

/** A step of token ids. */
export function tokenStep(
  sequences: readonly StepSequence[],
  tokens: readonly number[],
  copies: Step['copies'] = [],
): PlainStep {
  return { copies, sequences, payload: new Uint8Array(Int32Array.from(tokens).buffer) };
}

/** Runs a step through stages: the logits of its last rows, one array for each row. */
export async function runThrough(stages: readonly StageRuntime[], step: PlainStep): Promise<Float32Array[]> {
  let { payload } = step;
  for (const stage of stages) {
    const { activations, logits } = await stage.run({ ...step, payload, tokens: step.payload });
    if (activations) payload = activations.slice();
    if (!logits) continue;
    const rows = step.sequences.reduce((sum, { logitRows }) => sum + logitRows, 0);
    const size = logits.length / rows;
    return Array.from({ length: rows }, (_, row) => logits.slice(row * size, (row + 1) * size));
  }
  return [];
}

/** Token ids that are the same on every run. */
export function someTokens(count: number, vocabulary: number, seed = 1): number[] {
  return Array.from({ length: count }, (_, i) => (i * 7919 + seed * 104_729) % vocabulary);
}

/** 0 when all bytes are equal, else the largest difference of two numbers; never when they differ in shape. */
export function difference(actual: readonly Float32Array[], expected: readonly Float32Array[]): number {
  const sizes = (rows: readonly Float32Array[]): string => rows.map(({ length }) => length).join();
  if (sizes(actual) !== sizes(expected)) return NaN;
  let largest = 0;
  for (const [row, values] of actual.entries())
    for (const [i, value] of values.entries()) {
      const other = expected[row]?.[i] ?? NaN;
      if (!Object.is(value, other)) largest = Math.max(largest, Math.abs(value - other), Number.MIN_VALUE);
    }
  return largest;
}

/** The embeddings of texts, computed in one step. */
export async function embedThrough(
  { stages, spec }: Pick<SplitModel, 'stages' | 'spec'>,
  texts: readonly (readonly number[])[],
  pooling: Pooling,
): Promise<Float32Array[]> {
  const hasStates = stateSlotsOf(spec) > 0;
  const sequences = texts.map(({ length }, i) =>
    part({
      sequenceId: i,
      regionStart: i * 256,
      rows: length,
      logitRows: length,
      pooling,
      state: hasStates ? { from: emptyState, to: firstOwnState + i } : null,
    }),
  );
  const step = tokenStep(sequences, texts.flat());
  let { payload } = step;
  let vectors: readonly Float32Array[] = [];
  for (const stage of stages) {
    const computed = await stage.run({ ...step, payload, tokens: step.payload });
    if (computed.activations) payload = computed.activations.slice();
    vectors = computed.vectors ?? [];
  }
  return vectors.map((vector) => vector.slice());
}
