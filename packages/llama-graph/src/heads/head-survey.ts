import { HeaderModel, type Ggml, type HeaderModelOptions, type Shape } from '@butterfly/ggml';
import { attentionsOf } from '../attention-survey.js';
import { cutHead, type SurveyedHead } from './head-cut.js';
import { leafOf, readingsOf } from '../leaves.js';
import { refuse } from '../refusal.js';
import { readAsFloats, surveyedRows } from '../survey.js';

/**
 * Reads what such a layer is like from one of its graphs.
 * @param options with which the model itself was surveyed
 * @throws ButterflyError MODEL_UNSUPPORTED
 */
export function surveyHead(
  ggml: Ggml,
  options: HeaderModelOptions,
  names: ReadonlySet<string>,
): SurveyedHead {
  using model = new HeaderModel(ggml, { ...options, part: 'head' });
  const { graph, whole } = cutHead(model, surveyedRows);
  const isWeight = (name: string): boolean => names.has(name);
  const shapes: Record<string, Shape> = {};
  for (const { leaf, reader } of readingsOf(graph, whole)) {
    const known = leafOf(leaf, surveyedRows, isWeight, reader);
    if (known.kind === 'weight') shapes[known.name] = leaf.shape;
    if (known.kind === 'state' || known.kind === 'temperature')
      throw refuse(`guesses with ${leaf.name} beside its cache`);
  }
  const attention = attentionsOf(graph, model.layers + 1, (slots) =>
    slots >= model.contextTokens ? null : { kind: 'sliding', tokens: model.windowTokens },
  );
  const own = attention.at(-1);
  if (!own || own.window || attention.slice(0, -1).some((layer) => layer !== null))
    throw refuse('guesses by other layers than the one behind its last, or by one with a window');
  return { attention: own, shapes, plainWeights: [...new Set(readAsFloats(graph, whole))].filter(isWeight) };
}
