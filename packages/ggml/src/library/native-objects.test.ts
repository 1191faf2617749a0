import { silentLogger } from '@butterfly/common';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { describe, expect, it } from 'vitest';
import { CpuBackend } from '../device/cpu-backend.js';
import { dtype } from '../graph/dtype.js';
import { ComputeAllocator, Graph } from '../graph/graph.js';
import { shapeOf } from '../graph/tensor.js';
import { loadVocabulary } from '../vocabulary/vocabulary.js';
import { loadGgml } from './library.js';
import { nativeLifetimes, nativeObjects } from './native-objects.js';
import { baseSymbols, cpuSymbols, llamaSymbols } from './symbols.js';

const ggml = loadGgml({ log: silentLogger });

describe('native objects', () => {
  it('are counted while they live', async () => {
    const vocabularyFile = await cachedSyntheticModel(tinyModel);
    const before = nativeObjects();
    {
      using backend = new CpuBackend(ggml, 2);
      using graph = new Graph(ggml, 4);
      using allocator = new ComputeAllocator(backend);
      using buffer = backend.allocate(64);
      using vocabulary = loadVocabulary(ggml, vocabularyFile);
      graph.expand(graph.rmsNorm(graph.input(dtype.F32, shapeOf(8)), 1e-6));
      allocator.allocate(graph);
      expect([buffer.bytes, vocabulary.size]).toEqual([64, tinyModel.vocabulary]);
      const { contexts, buffers, allocators, backends, threadPools, models } = nativeObjects();
      expect({ contexts, buffers, allocators, backends, threadPools, models }).toEqual({
        contexts: before.contexts + 1,
        // The one above, and the one that the graph lies in.
        buffers: before.buffers + 2,
        allocators: before.allocators + 1,
        backends: before.backends + 1,
        threadPools: before.threadPools + 1,
        models: before.models + 1,
      });
    }
    expect(nativeObjects()).toEqual(before);
  });

  it('that could not be made are not counted', () => {
    const before = nativeObjects();
    expect(() => new CpuBackend(ggml, 1).allocate(2 ** 52)).toThrow(/could not be allocated/u);
    expect(nativeObjects().buffers).toBe(before.buffers);
  });

  it('have makers and freers that are bound, and every function that frees is one', () => {
    const bound = Object.keys({ ...baseSymbols, ...llamaSymbols, ...cpuSymbols });
    const lifetimes = Object.values(nativeLifetimes);
    const freers: string[] = lifetimes.flatMap(({ freers }) => [...freers]);
    expect(lifetimes.flatMap(({ makers }) => [...makers]).filter((name) => !bound.includes(name))).toEqual(
      [],
    );
    expect(bound.filter((name) => name.endsWith('_free')).sort()).toEqual(freers.sort());
  });
});
