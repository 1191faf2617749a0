import { silentLogger } from '@butterfly/common';
import { CpuBackend } from '../device/cpu-backend.js';
import { dtype } from '../graph/dtype.js';
import { ComputeAllocator, Graph } from '../graph/graph.js';
import { loadGgml } from '../library/library.js';
import type { Shape, Tensor } from '../graph/tensor.js';

/** For the tests of this package: the real libraries on one thread. */
export const ggml = loadGgml({ log: silentLogger });
export const backend = new CpuBackend(ggml, 1);

/** What a guard answers with, instead of letting ggml end the process. */
export const computeInvalid: unknown = { code: 'COMPUTE_INVALID' };

type Data = Float32Array | Int32Array | BigInt64Array | Uint16Array | Uint8Array;

/** Makes an input of this type and shape with these contents. */
export type Fill = (shape: Shape, data: Data | readonly number[], type?: number) => Tensor;

/** Computes one tensor: its bytes, row by row. */
export async function compute(build: (graph: Graph, fill: Fill) => Tensor): Promise<ArrayBuffer> {
  using graph = new Graph(ggml, 64);
  const inputs: { tensor: Tensor; data: Data }[] = [];
  const result = build(graph, (shape, data, type = dtype.F32) => {
    const tensor = graph.input(type, shape);
    inputs.push({ tensor, data: Array.isArray(data) ? Float32Array.from(data) : (data as Data) });
    return tensor;
  });
  graph.keep(result);
  graph.expand(result);
  using allocator = new ComputeAllocator(backend);
  allocator.allocate(graph);
  for (const { tensor, data } of inputs) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    new Uint8Array(graph.data(tensor)).set(bytes);
  }
  await backend.compute(graph);
  return graph.data(result).slice(0);
}

export async function computeFloats(build: (graph: Graph, fill: Fill) => Tensor): Promise<number[]> {
  return [...new Float32Array(await compute(build))];
}

/** Numbers in [-1, 1) that are the same on every run (xorshift32). */
export function numbers(count: number, seed = 1): Float32Array {
  let state = seed * 0x9e3779b1;
  return Float32Array.from({ length: count }, () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state / 2 ** 31;
  });
}

/** The value of an F16. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}
