import type { FuzzTarget } from '../engine/target.js';

const frameTypes = ['step', 'result', 'activations', 'fileChunk', 'vocabulary', 'witnessed'] as const;
const dialects = ['chat', 'text', 'responses', 'messages', 'ollama'] as const;

/** Where each target is: a thread loads what it fuzzes and nothing else, so that a look at its coverage is short. */
const rooms: Readonly<Record<string, () => Promise<readonly FuzzTarget[]>>> = {
  frames: async () => [(await import('./frames.js')).frames],
  ...Object.fromEntries(
    frameTypes.map((type) => [`frame-${type}`, async () => (await import('./frames.js')).frameBodies]),
  ),
  control: async () => [(await import('./frames.js')).control],
  gguf: async () => [(await import('./gguf.js')).gguf],
  template: async () => [(await import('./template.js')).template],
  ...Object.fromEntries(
    dialects.map((dialect) => [`body-${dialect}`, async () => (await import('./bodies.js')).bodies]),
  ),
  ...Object.fromEntries(
    ['schema', 'regex', 'gbnf'].map((name) => [
      name,
      async () => (await import('./constraints.js')).constraints,
    ]),
  ),
  token: async () => [(await import('./identity.js')).token],
  key: async () => [(await import('./identity.js')).key],
};

export const targetNames: readonly string[] = Object.keys(rooms);

/** @throws Error where there is none of this name */
export async function loadTarget(name: string): Promise<FuzzTarget> {
  const found = (await rooms[name]?.())?.find((target) => target.name === name);
  if (found) return found;
  throw new Error(`There is no target ${name}.`);
}
