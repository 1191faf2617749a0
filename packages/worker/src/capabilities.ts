import { createHash } from 'node:crypto';
import { arch, hostname, networkInterfaces, platform } from 'node:os';
import type { WorkerIdentity } from '@butterfly/common';
import { ComputeAllocator, CpuBackend, cpuFeatures, dtype, Graph, shapeOf, type Ggml } from '@butterfly/ggml';
import { measureAttention } from './capabilities-attention.js';
import { chooseBufferType } from './stage/buffer-choice.js';

/** A feed-forward matrix of an 8B model, 33 MB in Q4_0: beyond most caches, so that it measures what decoding does. */
const probe = { type: 2, columns: 4096, rows: 14_336, bytes: (4096 / 32) * 18 * 14_336 };
const probeRuns = 7;

/** Bytes of quantised weights per second that one decode step streams through a matrix product: the median of a few. */
export async function measureWeightSpeed(ggml: Ggml, threads: number): Promise<number> {
  using backend = new CpuBackend(ggml, threads);
  using graph = new Graph(ggml, 8);
  const shape = shapeOf(probe.columns, probe.rows);
  const type = chooseBufferType(backend, probe.type, shape, 'matmul');
  const weight = graph.tensor(probe.type, shape);
  using memory = backend.allocate(graph.bytesIn(type, weight), type);
  memory.clear();
  graph.place(weight, memory, 0);
  const row = graph.input(dtype.F32, shapeOf(probe.columns));
  graph.expand(graph.matmul(weight, row));
  using allocator = new ComputeAllocator(backend);
  allocator.allocate(graph);
  new Float32Array(graph.data(row)).fill(1);
  const seconds: number[] = [];
  for (let run = 0; run < probeRuns; run++) {
    const startedMs = performance.now();
    await backend.compute(graph);
    seconds.push((performance.now() - startedMs) / 1000);
  }
  seconds.sort((a, b) => a - b);
  return probe.bytes / (seconds[probeRuns >> 1] ?? 1);
}

/** Tells machines apart: a hash of the host name and its network cards. */
function machineId(): string {
  const cards = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ mac }) => mac));
  return createHash('sha256')
    .update([hostname(), ...cards.sort()].join())
    .digest('hex')
    .slice(0, 16);
}

/** The variant of the CPU library that ggml chose for this processor, such as "sapphirerapids"; ggml itself does not say. */
function cpuVariant(): string {
  const { sharedObjects } = process.report.getReport() as { readonly sharedObjects?: readonly string[] };
  for (const path of sharedObjects ?? []) {
    const variant = /ggml-cpu-(\w+)\.(?:so|dylib|dll)$/u.exec(path)?.[1];
    if (variant !== undefined) return variant;
  }
  return 'generic';
}

/** What a worker tells about itself when it joins, but for its data port. */
export async function describeWorker(
  ggml: Ggml,
  options: {
    readonly name: string;
    readonly threads: number;
    readonly memoryBytes: number;
    readonly version: string;
  },
): Promise<Omit<WorkerIdentity, 'dataPort'>> {
  return {
    name: options.name,
    machineId: machineId(),
    butterflyVersion: options.version,
    ggmlVersion: ggml.ggmlVersion,
    cpuVariant: cpuVariant(),
    cpuFeatures: [...cpuFeatures(ggml)],
    platform: platform(),
    arch: arch(),
    threads: options.threads,
    memoryBytes: options.memoryBytes,
    weightBytesPerSecond: await measureWeightSpeed(ggml, options.threads),
    attentionMicros: await measureAttention(ggml, options.threads),
  };
}
