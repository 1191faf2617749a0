import type { MetadataReader } from '../gguf/metadata-reader.js';
import type { FamilyArchitecture, RopeSpec } from './spec.js';

const kinds: Readonly<Record<FamilyArchitecture, RopeSpec['kind']>> = {
  llama: 'norm',
  qwen2: 'neox',
  qwen3: 'neox',
};

const f32 = Math.fround;

/**
 * Rotary embedding as llama.cpp reads it (llama-model.cpp, load_hparams) and resolves it (llama-context.cpp),
 * rounded to F32 at the same places.
 */
export function readRope(
  reader: MetadataReader,
  model: {
    readonly architecture: FamilyArchitecture;
    readonly headSize: number;
    readonly contextTrained: number;
    readonly hasFactors: boolean;
  },
): RopeSpec {
  const dimensions = reader.count('rope.dimension_count') ?? model.headSize;
  if (dimensions !== model.headSize || dimensions % 2 !== 0)
    throw reader.unsupported(`it rotates ${dimensions} of the ${model.headSize} elements of a head`);
  const base = positive(reader, 'rope.freq_base') ?? 10_000;
  return {
    dimensions,
    base: f32(base),
    kind: kinds[model.architecture],
    scaling: readScaling(reader, model.contextTrained),
    hasFactors: model.hasFactors,
  };
}

function readScaling(reader: MetadataReader, contextTrained: number): RopeSpec['scaling'] {
  const type = reader.text('rope.scaling.type') ?? 'linear';
  if (type !== 'none' && type !== 'linear' && type !== 'yarn')
    throw reader.unsupported(`it scales its positions by "${type}"`);
  const written = reader.number('rope.scaling.factor') ?? reader.number('rope.scale_linear') ?? 0;
  if (written < 0) throw reader.corrupt('rope.scaling.factor', `is ${written}`);
  const frequencyScale = type === 'none' || written === 0 ? 1 : f32(1 / f32(written));
  const factor = f32(1 / frequencyScale);
  const attentionFactor = f32(positive(reader, 'rope.scaling.attn_factor') ?? 1);
  return {
    kind: type === 'linear' && factor === 1 ? 'none' : type,
    factor,
    frequencyScale,
    originalContext: reader.count('rope.scaling.original_context_length') ?? contextTrained,
    extFactor: type === 'yarn' ? 1 : 0,
    attentionFactor: type === 'yarn' ? f32(yarnAttentionFactor(factor) * attentionFactor) : attentionFactor,
    // Only architectures that are not read here write other values.
    betaFast: 32,
    betaSlow: 1,
  };
}

/** Cancels the factor that ggml's rope multiplies in by itself. */
function yarnAttentionFactor(factor: number): number {
  const logarithm = f32(f32(0.1) * f32(Math.log(factor)));
  const scale = factor <= 1 ? 1 : f32(logarithm + 1);
  return f32(scale * f32(1 / f32(1 + logarithm)));
}

function positive(reader: MetadataReader, key: string): number | undefined {
  const value = reader.number(key);
  if (value === undefined || value > 0) return value;
  throw reader.corrupt(key, `is ${value}`);
}
