import type { WorkerObserver } from '@butterfly/common';
import type { Ggml } from '@butterfly/ggml';
import { type LayerTimes, type ModelSpec, expertBytes, withoutRooms } from '@butterfly/model';
import { cpuVariant } from './capabilities.js';
import { checkDevice } from './device-check.js';
import { machineId } from './machine-id.js';
import { MachineLock } from './machine-lock.js';
import { measureAttention } from './measured-attention.js';
import { findModelFile, measureDisk, removeAbandonedScratch } from './measured-disk.js';
import type { HostOffer } from './capabilities.js';
import { type MeasuredModel, measureLayerTimes, measureLayers } from './measured-layers.js';
import { measuredParts, type MeasuredParts } from './measured-parts.js';
import { ProfileCache, type MeasuredProfile } from './profile-cache.js';

export interface ProfileOptions {
  readonly ggml: Ggml;
  readonly spec: ModelSpec;
  readonly threads: number;
  /** Where it computes; the CPU by default. */
  readonly device?: string;
  /** Beside a device that is not the CPU: what it may take of the memory of this machine. */
  readonly host?: HostOffer;
  /** What the worker offers for weights and cache; measuring stays within it. */
  readonly memoryBytes: number;
  /** Where measurements are kept for the next time; null keeps none. */
  readonly directory: string | null;
  /** Measures the kernels of deterministic mode; off by default. */
  readonly isDeterministic?: boolean;
  readonly observe: WorkerObserver;
}

/**
 * What this machine makes of a model of this shape: taken from disk when it was measured before, else measured in some
 * two seconds, during which nothing else should compute.
 * @throws ButterflyError COMPUTE_FAILED when the memory that is offered cannot be had
 */
export async function profileModel(options: ProfileOptions): Promise<MeasuredProfile> {
  const { directory, observe, isDeterministic = false, device = 'cpu' } = options;
  // What window layers keep makes no difference to steps of a few tokens.
  const spec = withoutRooms(options.spec);
  if (directory !== null) await removeAbandonedScratch(directory);
  const file = await findModelFile(spec.files);
  const experts = device === 'cpu' || !hasExperts(spec) ? 'device' : (options.host?.experts ?? 'device');
  const model: ProfiledModel = {
    ...options,
    spec,
    isDeterministic,
    device,
    experts,
    hasHostExperts: experts === 'host',
  };
  const key = await profileKey(model, measuredParts(model), file?.path ?? null);
  const cache = directory === null ? null : new ProfileCache(directory, key, observe);
  const known = await cache?.read();
  if (known) return known;
  // Several workers of one machine would measure how they disturb each other; mostly one measures for all.
  const lock = directory === null ? null : await MachineLock.take(directory);
  try {
    return (await cache?.read()) ?? (await measure(model, file, cache));
  } finally {
    await lock?.[Symbol.asyncDispose]();
  }
}

type ProfiledModel = Required<Omit<ProfileOptions, 'host'>> &
  Pick<MeasuredModel, 'hasHostExperts'> & {
    /** As the worker offers it, or `device` where that makes no difference. */
    readonly experts: HostOffer['experts'];
  };

async function measure(
  model: ProfiledModel,
  file: Awaited<ReturnType<typeof findModelFile>>,
  cache: ProfileCache | null,
): Promise<MeasuredProfile> {
  const { ggml, spec, threads, device, directory, isDeterministic, observe } = model;
  const startedMs = performance.now();
  await checkDevice(model);
  const layers = await measureLayers(model);
  const beside = model.experts === 'auto' ? await measureBeside(model) : null;
  const attentionMicros = await measureAttention({
    ggml,
    attention: spec.attention,
    threads,
    device,
    isDeterministic,
  });
  const diskBytesPerSecond = await measureDisk(ggml, file, directory);
  const { isSteady: areLayersSteady, ...curves } = layers;
  const isSteady = areLayersSteady && (beside?.isSteady ?? true);
  const hostExperts = beside ? { hostExperts: beside.times } : {};
  const profile = { ...curves, ...hostExperts, attentionMicros, diskBytesPerSecond };
  const elapsedMs = Math.round(performance.now() - startedMs);
  observe({ kind: 'machineMeasured', elapsedMs, isSteady, ...profile });
  await cache?.write(profile, isSteady);
  return profile;
}

/** Layers with their experts in the memory of the host, where a plan may want them. */
async function measureBeside(
  model: ProfiledModel,
): Promise<{ readonly times: LayerTimes; readonly isSteady: boolean }> {
  const beside = { ...model, hasHostExperts: true };
  await checkDevice(beside);
  const { isSteady, ...times } = await measureLayerTimes(beside);
  return { times, isSteady };
}

function hasExperts(spec: ModelSpec): boolean {
  return expertBytes(spec).some((bytes) => bytes > 0);
}

/** Everything that the measurements depend on. */
async function profileKey(
  { ggml, spec, threads, device, experts, directory, isDeterministic }: ProfiledModel,
  parts: MeasuredParts,
  filePath: string | null,
): Promise<Record<string, unknown>> {
  const { architecture, layers, hidden, vocabulary, attention, graph } = spec;
  return {
    machineId: await machineId(directory),
    cpuVariant: cpuVariant(),
    ggmlVersion: ggml.ggmlVersion,
    threads,
    device,
    experts,
    isDeterministic,
    parts,
    filePath,
    shape: { architecture, layers, hidden, vocabulary, attention, graph },
    tied: spec.tiedEmbeddings,
    tensors: spec.tensors.map(({ name, type, shape }) => [name, type, shape]),
  };
}
