import { ButterflyError } from '@butterfly/common';
import type { ModelDirectory, OfferedModel, ServedModel } from './context.js';

/** One model that is there from the beginning to the end. */
export function soleModel(model: ServedModel, createdS = Math.floor(Date.now() / 1000)): ModelDirectory {
  const { id, facts, engine, vocabulary } = model;
  const offered: OfferedModel = {
    ...{ id, aliases: [], createdS, facts, state: 'loaded', failure: null, expiresMs: null },
    contextTokens: engine.contextTokensMax,
    vocabularySize: vocabulary.size,
    loadedBytes: facts.bytes,
  };
  return {
    list: () => [offered],
    find: (name) => (name === id ? offered : null),
    use: () => Promise.resolve({ model, [Symbol.dispose]: () => undefined }),
    unload: () =>
      Promise.reject(
        new ButterflyError(
          'REQUEST_UNSUPPORTED',
          `"${id}" is served as long as this server runs; stop that.`,
        ),
      ),
    status: () => engine.status(),
  };
}
