import type { WorkerObserver } from '@butterfly/common';
import type { Ggml } from '@butterfly/ggml';
import { describeFile, ggml, openSource, smallModel } from '@butterfly/stage/testing';
import { cachedSyntheticModel } from '@butterfly/testkit';
import { expect, it } from 'vitest';
import { nativeMachine } from './native.js';

/** ggml, but for graphs that are not computed although it says so, while `fails` gives true. */
function unreliable(fails: () => boolean): Ggml {
  const { ggml_backend_graph_compute: compute } = ggml.base;
  const async: typeof compute.async = (backend, graph, done) => {
    if (fails()) setImmediate(done, null, 0);
    else compute.async(backend, graph, done);
  };
  return { ...ggml, base: { ...ggml.base, ggml_backend_graph_compute: Object.assign(() => 0, { async }) } };
}

it('warns when kernels do not keep the word of deterministic mode', async () => {
  const kinds: string[] = [];
  const observe: WorkerObserver = ({ kind }) => void kinds.push(kind);
  let failures = 0;
  const options = {
    device: 'cpu',
    ggml: unreliable(() => failures-- > 0),
    threads: 1,
    memoryBytes: 1e9,
    directory: null,
  };
  const spec = await describeFile(await cachedSyntheticModel(smallModel));
  const range = { layerStart: 0, layerEnd: 1 };
  const sizes = { arenaSlots: 1024, cacheType: 'f16', rowsMax: 64 } as const;
  const { stages } = nativeMachine({ ...options, observe });
  using stage = stages.create({ spec, range, ...sizes, isDeterministic: true });
  await using source = await openSource(spec);
  await stage.load(source);
  const profile = { layerCurve: [{ rows: 1, micros: 5 }], outputCurve: [{ rows: 1, micros: 7 }] };
  expect((await stage.warmUp(profile)).isBatchInvariant).toBe(true);
  expect(kinds).toEqual([]);
  failures = 1;
  expect((await stage.warmUp(profile)).isBatchInvariant).toBe(false);
  expect(kinds).toEqual(['determinismBroken']);
});
