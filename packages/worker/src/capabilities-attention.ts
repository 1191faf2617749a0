import { cacheTypes, type CacheType } from '@butterfly/common';
import {
  ComputeAllocator,
  CpuBackend,
  dtype,
  Graph,
  shapeOf,
  type Ggml,
  type NativeBuffer,
  type Tensor,
} from '@butterfly/ggml';
import { cacheBytesPerSlot } from '@butterfly/model';
import { dtypeOf } from './stage/kv-cache.js';

/** Heads as those of Llama-3.2-1B over 2,048 tokens: 4 MB of keys and values in F16. */
const shape = { heads: 32, kvHeads: 8, headSize: 64 };
const slots = 2048;
const layerBytes = cacheBytesPerSlot(shape, 'f16') * slots;
/** So many layers have memory of their own that keys and values are in no processor's cache, as when decoding. */
const layers = 16;
/** Layers of one computation, so that what it costs to start one hardly counts. */
const layersAtOnce = 4;
const rounds = 2;
/** On a machine that is this busy more samples would tell no more, and nobody wants to wait for them. */
const samplingMs = 1000;

/**
 * Microseconds of one query over 2,048 cached tokens of one layer, by type of the cache: the least of up to eight samples,
 * since whatever else the machine does can only add to them. The types take turns, so that it adds to all alike.
 */
export async function measureAttention(ggml: Ggml, threads: number): Promise<Record<CacheType, number>> {
  using backend = new CpuBackend(ggml, threads);
  using memory = backend.allocate(layerBytes * layers);
  // Zeros are numbers in every type, so all of them read the same memory.
  memory.clear();
  const micros: Record<CacheType, number> = { f16: Infinity, bf16: Infinity, q8_0: Infinity };
  const endMs = performance.now() + samplingMs;
  for (let layer = 0; layer < layers * rounds; layer += layersAtOnce) {
    for (const type of cacheTypes)
      micros[type] = Math.min(micros[type], await sampleMicros(backend, memory, type, layer % layers));
    if (performance.now() > endMs) break;
  }
  return micros;
}

async function sampleMicros(
  backend: CpuBackend,
  memory: NativeBuffer,
  type: CacheType,
  firstLayer: number,
): Promise<number> {
  using graph = new Graph(backend.ggml, layersAtOnce * 8 + 2);
  const query = graph.input(dtype.F32, shapeOf(shape.headSize, 1, shape.heads));
  const mask = graph.input(dtype.F16, shapeOf(slots));
  const cache = (offset: number): Tensor => {
    const tensor = graph.tensor(dtypeOf[type], shapeOf(shape.headSize * shape.kvHeads, slots));
    graph.place(tensor, memory, offset);
    return byHead(graph, tensor);
  };
  for (let layer = firstLayer; layer < firstLayer + layersAtOnce; layer++) {
    const keys = cache(layer * layerBytes);
    const values = cache(layer * layerBytes + layerBytes / 2);
    graph.expand(graph.flashAttention(query, keys, values, mask, 1 / Math.sqrt(shape.headSize)));
  }
  using allocator = new ComputeAllocator(backend);
  allocator.allocate(graph);
  new Float32Array(graph.data(query)).fill(1);
  new Uint16Array(graph.data(mask)).fill(0);
  const startedMs = performance.now();
  await backend.compute(graph);
  return ((performance.now() - startedMs) * 1000) / layersAtOnce;
}

/** A cache as [headSize, slots, kvHeads]. */
function byHead(graph: Graph, cache: Tensor): Tensor {
  const row = cache.strides[1];
  const strides = [row / shape.kvHeads, row, row * slots] as const;
  return graph.swapRowsAndMatrices(
    graph.view(cache, shapeOf(shape.headSize, shape.kvHeads, slots), strides, 0),
  );
}
