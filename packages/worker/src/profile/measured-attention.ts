import {
  type Backend,
  ComputeAllocator,
  CpuBackend,
  type Ggml,
  Graph,
  type NativeBuffer,
  type Tensor,
  dtype,
  openDevice,
  shapeOf,
} from '@butterfly/ggml';
import { type LayerAttention, type ModelSpec, cacheBytesPerSlot, typicalAttention } from '@butterfly/model';
import { canCache, dtypeOf } from '@butterfly/stage';
import { type CacheType, cacheTypes } from '@butterfly/wire';

const slots = 2048;
/** Keys and values of so many bytes are in no processor's cache all at once, as when decoding. */
const memoryBytesMax = 64 * 2 ** 20;
/** Layers of one computation, so that what it costs to start one hardly counts. */
const layersAtOnce = 4;
const samplesMax = 8;
/** On a machine that is this busy more samples would tell no more, and nobody wants to wait for them. */
const samplingMs = 400;

/**
 * Microseconds of one query over 2,048 cached tokens of one layer, by type of the cache: the least of up to eight samples,
 * since whatever else the machine does can only add to them. The types take turns, so that it adds to all alike. A type
 * that these heads cannot have gets the time of F16, so that nobody prefers it.
 */
export async function measureAttention(options: {
  readonly ggml: Ggml;
  readonly attention: ModelSpec['attention'];
  readonly threads: number;
  readonly device: string;
  readonly isDeterministic: boolean;
}): Promise<Record<CacheType, number>> {
  const { ggml, attention, threads, device, isDeterministic } = options;
  const layer = typicalAttention(attention);
  // Of a model that attends to nothing no type is better than another.
  if (layer === null) return { f16: 1, bf16: 1, q8_0: 1 };
  using backend = openDevice(ggml, device, threads);
  if (backend instanceof CpuBackend) backend.setReferenceKernels(isDeterministic);
  const layerBytes = cacheBytesPerSlot(layer, 'f16') * slots;
  const groups = Math.max(1, Math.floor(memoryBytesMax / (layerBytes * layersAtOnce)));
  using memory = backend.allocate(layerBytes * layersAtOnce * groups);
  // Zeros are numbers in every type, so all of them read the same memory.
  memory.clear();
  const types = cacheTypes.filter((type) => canCache(backend, layer, type));
  const micros: Record<CacheType, number> = { f16: Infinity, bf16: Infinity, q8_0: Infinity };
  const endMs = performance.now() + samplingMs;
  for (let sample = 0; sample < samplesMax; sample++) {
    const offset = (sample % groups) * layersAtOnce * layerBytes;
    for (const type of types)
      micros[type] = Math.min(micros[type], await sampleMicros(backend, memory, layer, type, offset));
    if (performance.now() > endMs) break;
  }
  for (const type of cacheTypes) if (!types.includes(type)) micros[type] = micros.f16;
  return micros;
}

async function sampleMicros(
  backend: Backend,
  memory: NativeBuffer,
  shape: LayerAttention,
  type: CacheType,
  start: number,
): Promise<number> {
  const { heads, kvHeads, keySize, valueSize } = shape;
  const layerBytes = cacheBytesPerSlot(shape, 'f16') * slots;
  const keyBytes = (layerBytes * keySize) / (keySize + valueSize);
  using graph = new Graph(backend.ggml, layersAtOnce * 8 + 2);
  const query = graph.input(dtype.F32, shapeOf(keySize, 1, heads));
  const mask = graph.input(dtype.F16, shapeOf(slots));
  const cache = (headSize: number, offset: number): Tensor => {
    const tensor = graph.tensor(dtypeOf[type], shapeOf(headSize * kvHeads, slots));
    graph.place(tensor, memory, offset);
    return byHead(graph, tensor, headSize, kvHeads);
  };
  for (let layer = 0; layer < layersAtOnce; layer++) {
    const offset = start + layer * layerBytes;
    const keys = cache(keySize, offset);
    // Values that are a part of the keys are read again.
    const values = valueSize === 0 ? keys : cache(valueSize, offset + keyBytes);
    graph.expand(graph.flashAttention(query, keys, values, mask, 1 / Math.sqrt(keySize)));
  }
  using allocator = new ComputeAllocator(backend);
  allocator.allocate(graph);
  graph.write(query, new Uint8Array(new Float32Array(keySize * heads).fill(1).buffer));
  graph.write(mask, new Uint8Array(2 * slots));
  const startedMs = performance.now();
  await backend.compute(graph);
  return ((performance.now() - startedMs) * 1000) / layersAtOnce;
}

/** A cache as [headSize, slots, kvHeads]. */
function byHead(graph: Graph, cache: Tensor, headSize: number, kvHeads: number): Tensor {
  const row = cache.strides[1];
  const strides = [row / kvHeads, row, row * slots] as const;
  return graph.swapRowsAndMatrices(graph.view(cache, shapeOf(headSize, kvHeads, slots), strides, 0));
}
