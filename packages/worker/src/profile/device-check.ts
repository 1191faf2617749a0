import { ButterflyError } from '@butterfly/common';
import { type Ggml, dtype, quantizeRows } from '@butterfly/ggml';
import type { ModelTensor } from '@butterfly/model';
import { type LayerRange, StageRuntime, decodingStep } from '@butterfly/stage';
import type { TensorSource } from '@butterfly/weights';
import { madeUpWeights } from './made-up-weights.js';
import { arenaSlots, measuredParts } from './measured-parts.js';
import type { MeasuredModel } from './measured-layers.js';

/** An odd number, so that whatever a device does in pairs has a rest. */
const rows = 7;
/**
 * Of the length of a row. The CPU rounds activations to 8 bits for each product, and devices do not: a layer of 4-bit weights
 * is off by some hundredths at most, and one that is computed wrongly by about as much as it is long.
 */
const differenceMax = 0.1;
/** Rows and columns of numbers that tensors are filled with again and again. */
const tile = { rows: 61, columns: 256 } as const;

/**
 * Compares what a device makes of a layer of each kind with what the CPU beside it makes of it, since some backends compute
 * garbage for new architectures without a word.
 * @throws ButterflyError COMPUTE_FAILED for a device whose numbers are others
 */
export async function checkDevice(model: MeasuredModel): Promise<void> {
  if (model.device === 'cpu') return;
  const weights = noiseWeights(model.ggml);
  for (const { runs } of measuredParts(model).kinds) {
    const [layer] = runs[0] ?? [];
    if (layer === undefined) continue;
    const range = { layerStart: layer, layerEnd: layer + 1 };
    const expected = await layerOn({ ...model, device: 'cpu' }, range, weights);
    const difference = medianDifference(expected, await layerOn(model, range, weights), rows);
    // Not a number counts as well.
    if (difference <= differenceMax) continue;
    throw new ButterflyError(
      'COMPUTE_FAILED',
      `The device ${model.device} computes layer ${layer} of this model otherwise than the CPU: by ${difference.toFixed(2)} of its length, where ${differenceMax} is allowed. Update its driver, or give this worker --device cpu.`,
    );
  }
}

/** Activations F32 [rows, hidden] of one layer in the midst of a model. */
async function layerOn(
  model: MeasuredModel,
  range: LayerRange,
  weights: TensorSource,
): Promise<Float32Array> {
  const hostExperts = model.hasHostExperts ? range.layerEnd - range.layerStart : 0;
  using stage = new StageRuntime({
    ...model,
    range,
    hostExperts,
    arenaSlots,
    cacheType: 'f16',
    rowsMax: rows,
  });
  await stage.load(weights);
  const { spec } = model;
  const { payloadShape } = stage;
  const step = decodingStep(rows, { spec, payloadShape, slots: arenaSlots, rowsMax: rows });
  const { activations, logits } = await stage.run(step);
  const result = activations ?? logits ?? new Uint8Array(0);
  return new Float32Array(result.slice().buffer);
}

/**
 * How far a row is off in the midst of all, in parts of its length: of rows that go to other experts because of a last bit
 * there are few.
 */
export function medianDifference(expected: Float32Array, actual: Float32Array, count: number): number {
  const width = expected.length / count;
  const differences = Array.from({ length: count }, (_, row) => {
    let [distance, length] = [0, 0];
    for (let i = row * width; i < (row + 1) * width; i++) {
      const value = expected[i] ?? NaN;
      distance += (value - (actual[i] ?? NaN)) ** 2;
      length += value ** 2;
    }
    return Math.sqrt(distance / length);
  });
  // Those that are no numbers last.
  differences.sort((a, b) => (Number.isNaN(a) ? 1 : Number.isNaN(b) ? -1 : a - b));
  return differences[Math.floor(count / 2)] ?? NaN;
}

/** Matrices of noise in whatever type they have, and of zeros in types that cannot be quantised to without more. */
function noiseWeights(ggml: Ggml): TensorSource {
  const tiles = new Map<number, Uint8Array | null>();
  const tileOf = (type: number): Uint8Array | null => {
    if (!tiles.has(type)) tiles.set(type, noiseIn(ggml, type));
    return tiles.get(type) ?? null;
  };
  return {
    ...madeUpWeights,
    read: async (tensor: ModelTensor, offset: number, target: Uint8Array): Promise<void> => {
      const bytes = tensor.shape.length === 1 ? null : tileOf(tensor.type);
      if (bytes === null) {
        await madeUpWeights.read(tensor, offset, target);
        return;
      }
      for (let at = 0; at < target.length;) {
        const from = (offset + at) % bytes.length;
        const part = bytes.subarray(from, from + Math.min(bytes.length - from, target.length - at));
        target.set(part, at);
        at += part.length;
      }
    },
  };
}

function noiseIn(ggml: Ggml, type: number): Uint8Array | null {
  const values = Float32Array.from(
    { length: tile.rows * tile.columns },
    (_, i) => (Math.imul(i + 1, 0x9e3779b1) / 2 ** 31) * 0.05,
  );
  if (type === dtype.F32) return new Uint8Array(values.buffer);
  try {
    return quantizeRows(ggml, type, values, tile.rows, tile.columns);
  } catch {
    return null;
  }
}
