import { layerOf, usedShare } from './layer-tensors.js';
import type { ModelSpec } from './spec.js';

/**
 * What tells layers apart, by layer, such as `dense` or `with state`: of experts, states, attention and windows only what
 * not all layers have alike; blank where they are all alike in these.
 */
export function layerWords(spec: ModelSpec): string[] {
  const withExperts = new Set(
    spec.tensors.filter((tensor) => usedShare(spec, tensor) < 1).map((tensor) => layerOf(tensor)),
  );
  const traits = spec.attention.map((attention, layer) => {
    const hasStates = spec.graph.kind === 'imported' && (spec.graph.states[layer]?.length ?? 0) > 0;
    const window = attention?.window ?? null;
    return [
      withExperts.has(layer) ? 'with experts' : 'dense',
      memoryWords(attention !== null, hasStates),
      // What attends to nothing has no window to differ in.
      attention === null ? null : window === null ? 'seeing all' : `with a window of ${window.tokens} tokens`,
    ];
  });
  const differs = [0, 1, 2].map((trait) => {
    const words = traits.map((each) => each[trait]).filter((each) => each !== null);
    return new Set(words).size > 1;
  });
  return traits.map((each) => each.filter((words, trait) => words !== null && differs[trait]).join(', '));
}

function memoryWords(isAttending: boolean, hasStates: boolean): string {
  if (isAttending) return hasStates ? 'attending with state' : 'attending';
  return hasStates ? 'with state' : 'neither attending nor with state';
}

/** Counts layers by their words, such as `3 dense, 58 with experts`; blank where nothing tells them apart. */
export function countedLayers(words: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const each of words) if (each !== '') counts.set(each, (counts.get(each) ?? 0) + 1);
  const separator = [...counts.keys()].some((each) => each.includes(',')) ? '; ' : ', ';
  return [...counts].map(([each, count]) => `${count} ${each}`).join(separator);
}
