import { ButterflyError } from '@butterfly/common';
import type { HeadSpec, ModelSpec } from './spec.js';

/** The layer that predicts the token after the next one, where it is there and guesses; else null. */
export function servedHead({ graph }: Pick<ModelSpec, 'graph'>): HeadSpec | null {
  return graph.kind === 'imported' && graph.head?.isOn ? graph.head : null;
}

/** Whether a file has such layers, whether they can be computed here or not. */
export function hasHeadTensors({ tensors }: Pick<ModelSpec, 'tensors'>): boolean {
  return tensors.some(({ name }) => /^blk\.\d+\.nextn\./u.test(name));
}

/**
 * The model with that layer at work, which the last stage holds: with its weights, and told of all tokens.
 * @throws ButterflyError MODEL_UNSUPPORTED where it has none that can be computed
 */
export function withHead(spec: ModelSpec): ModelSpec {
  const { graph, layers, sharedTensors, tokenLayers } = spec;
  const head = graph.kind === 'imported' ? graph.head : null;
  if (graph.kind !== 'imported' || head === null)
    throw new ButterflyError(
      'MODEL_UNSUPPORTED',
      hasHeadTensors(spec)
        ? `The layers of this model of the architecture ${spec.architecture} that predict further tokens are of a kind that Butterfly does not compute; serve it with --mtp off.`
        : 'This model has no layer that predicts further tokens (nextn, MTP); serve it with --mtp off.',
    );
  const last = layers - 1;
  const shared = { ...sharedTensors };
  for (const tensor of spec.tensors) {
    if (!head.tensors.includes(tensor.name)) continue;
    const users = Object.hasOwn(shared, tensor.name) ? shared[tensor.name] : undefined;
    // What serves all layers is there in any case.
    if (users === undefined && !tensor.name.startsWith('blk.')) continue;
    shared[tensor.name] = [...new Set([...(users ?? []), last])];
  }
  return {
    ...spec,
    sharedTensors: shared,
    tokenLayers: last === 0 ? tokenLayers : [...new Set([...tokenLayers, last])].sort((a, b) => a - b),
    graph: { ...graph, head: { ...head, isOn: true } },
  };
}
