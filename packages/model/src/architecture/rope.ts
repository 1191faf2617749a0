import type { RopeParams } from '@butterfly/ggml';
import type { RopeSpec } from '../spec/spec.js';

/** The rope of a model as ggml_rope_ext takes it. */
export function ropeParams({ dimensions, base, kind, scaling }: RopeSpec): RopeParams {
  return {
    dimensions,
    mode: kind === 'neox' ? 2 : 0,
    originalContext: scaling.originalContext,
    base,
    scale: scaling.frequencyScale,
    extrapolation: scaling.extFactor,
    attention: scaling.attentionFactor,
    betaFast: scaling.betaFast,
    betaSlow: scaling.betaSlow,
  };
}
