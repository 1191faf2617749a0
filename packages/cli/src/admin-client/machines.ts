import { readFile } from 'node:fs/promises';
import { ButterflyError, type StepTime, limits, parseConfig } from '@butterfly/common';
import { type LayerWeights, type ModelSpec, layerKinds, outputBytes, readBytes } from '@butterfly/model';
import { type ClusterDescription, assumedLink } from '@butterfly/orchestrator';
import { type Link, type PlannerInput, type PlannerMember, expertWishes } from '@butterfly/planning';
import { type CacheType, cacheTypes } from '@butterfly/wire';
import { z } from 'zod';
import { byteCount } from '../options.js';
import { clusterSchema, stepTimesSchema } from './cluster-schema.js';

/** Machines to plan for, and the links between them. */
export interface Machines {
  readonly members: readonly PlannerMember[];
  readonly link: PlannerInput['link'];
}

/** How links name the orchestrator. */
const orchestrator = 'orchestrator';

/**
 * Each row of a step beyond the first adds so much of the time of the first, where only the speed of reading weights is
 * known: measured on a 1B model in Q4_0, 8 rows take twice the time of one, 16 three times, and 64 nine times.
 */
const timePerFurtherRow = 0.125;
const estimatedRows = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] as const;

const bytes = z.union([z.int().positive(), z.string()]).transform((value, context) => {
  try {
    return byteCount(String(value));
  } catch {
    context.addIssue({ code: 'custom', message: 'must be bytes, such as 16000000000 or "16G"' });
    return z.NEVER;
  }
});

const bitUnits: Readonly<Record<string, number>> = { K: 1e3, M: 1e6, G: 1e9, T: 1e12 };
/** `1Gbit` or `100MB`, each per second, in bytes. */
const bandwidth = z.string().transform((text, context) => {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT])(bit|B)(?:\/s|ps)?$/iu.exec(text);
  const value = Number(match?.[1]) * (bitUnits[match?.[2]?.toUpperCase() ?? ''] ?? Number.NaN);
  if (value > 0) return match?.[3]?.toLowerCase() === 'bit' ? value / 8 : value;
  context.addIssue({ code: 'custom', message: 'must be a speed, such as "1Gbit" or "100MB"' });
  return z.NEVER;
});

const positive = z.number().positive();
const network = z.strictObject({
  latencyMs: z.number().min(0),
  bandwidth,
  relayed: z.boolean().default(false),
});
/** The memory beside a graphics card. */
const host = z.strictObject({
  memory: bytes,
  weightBytesPerSecond: z.union([positive, bandwidth]),
  experts: z.enum(expertWishes).default('auto'),
});
const identity = {
  name: z.string().regex(/\S/u, 'must not be blank').max(256),
  memory: bytes,
  /** Whose free memory that is, or that of `host`: workers with the same name share it. */
  machine: z.string().min(1).max(256).optional(),
};
const worker = z.union(
  [
    z.strictObject({ ...identity, layerCurve: stepTimesSchema, outputCurve: stepTimesSchema }),
    z.strictObject({ ...identity, decodeTokensPerSecond: positive, host: host.optional() }),
    z.strictObject({
      ...identity,
      weightBytesPerSecond: z.union([positive, bandwidth]),
      host: host.optional(),
    }),
  ],
  {
    error:
      'must have name, memory, and one of decodeTokensPerSecond, weightBytesPerSecond, or layerCurve with outputCurve',
  },
);

/** The file that people write; what `butterfly status --json` prints is taken as well. */
const fileSchema = z
  .strictObject({
    workers: z.array(worker).min(1).max(limits.workersMax),
    /** Between any two that `links` does not name. */
    network: network.optional(),
    /** Both ways, unless the other one is there too. */
    links: z
      .array(z.strictObject({ from: z.string(), to: z.string(), ...network.shape }))
      .max(limits.workersMax ** 2)
      .default([]),
  })
  .superRefine(({ workers, links }, context) => {
    const names = new Set(workers.map(({ name }) => name));
    if (names.size < workers.length || names.has(orchestrator))
      context.addIssue({
        code: 'custom',
        path: ['workers'],
        message: `names must differ, and none may be "${orchestrator}"`,
      });
    for (const [index, { from, to }] of links.entries())
      for (const end of [from, to])
        if (end !== orchestrator && !names.has(end))
          context.addIssue({
            code: 'custom',
            path: ['links', index],
            message: `there is no worker "${end}"`,
          });
  });

type DescribedWorker = z.output<typeof worker>;
type DescribedNetwork = z.output<typeof network>;

/** Where nothing measured attention, no type of cache is faster than another. */
const evenAttention = Object.fromEntries(cacheTypes.map((type) => [type, 1])) as Record<CacheType, number>;

/**
 * Reads a file that describes machines.
 * @throws ButterflyError CONFIG_INVALID that names what is wrong
 */
export async function readMachines(path: string, spec: ModelSpec): Promise<Machines> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
    throw new ButterflyError('CONFIG_INVALID', `${path} cannot be read (${code}); check the path.`, {
      cause,
    });
  });
  return parseMachines(text, path, spec);
}

/** @throws ButterflyError CONFIG_INVALID that names what is wrong */
export function parseMachines(text: string, path: string, spec: ModelSpec): Machines {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ButterflyError('CONFIG_INVALID', `${path} is no JSON (${reason}).`, { cause });
  }
  const running = clusterSchema.safeParse(value);
  if (running.success) return machinesOf(running.data, path);
  const { workers, network: usual, links } = parseConfig(fileSchema, value, path);
  const known = new Map<string, Link>();
  for (const { from, to, ...link } of links) {
    known.set(keyOf(from, to), toLink(link));
    if (!known.has(keyOf(to, from))) known.set(keyOf(to, from), toLink(link));
  }
  const fallback = usual ? toLink(usual) : { ...assumedLink, isRelayed: false };
  return {
    members: workers.map((each) => toMember(each, spec)),
    link: (from, to) => known.get(keyOf(from ?? orchestrator, to ?? orchestrator)) ?? fallback,
  };
}

/** The workers of a running cluster; those that have not measured themselves yet are left out. */
export function machinesOf({ workers }: ClusterDescription, source: string): Machines {
  const members = workers.flatMap(({ workerId, name, memoryBytes, profile }): PlannerMember[] => {
    if (!profile) return [];
    const attentionMicros = { ...evenAttention, ...profile.attentionMicros };
    return [{ workerId, name, memoryBytes, profile: { ...profile, attentionMicros } }];
  });
  if (members.length === 0)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `${source}: no worker has measured itself yet; ask again later.`,
    );
  const known = new Map<string, Link>();
  for (const { workerId, links } of workers)
    for (const { toWorkerId, ...link } of links) {
      known.set(keyOf(workerId, toWorkerId), link);
      if (!known.has(keyOf(toWorkerId, workerId))) known.set(keyOf(toWorkerId, workerId), link);
    }
  const fallback = { ...assumedLink, isRelayed: false };
  return { members, link: (from, to) => known.get(keyOf(from, to)) ?? fallback };
}

function toMember(described: DescribedWorker, spec: ModelSpec): PlannerMember {
  const { name, memory, machine } = described;
  const beside = 'host' in described ? described.host : undefined;
  const curves =
    'layerCurve' in described
      ? { layerCurve: described.layerCurve, outputCurve: described.outputCurve }
      : estimateCurves(spec, weightSpeed(described, spec), beside?.weightBytesPerSecond);
  const memoryOf = machine === undefined ? {} : { memoryOf: machine };
  return {
    workerId: name,
    name,
    memoryBytes: memory,
    // Of a worker on a card, what others of its machine may offer too is the memory beside it.
    ...(beside ? { host: { memoryBytes: beside.memory, experts: beside.experts, ...memoryOf } } : memoryOf),
    profile: { ...curves, attentionMicros: evenAttention },
  };
}

/** Decoding reads for each token all weights that it is computed with: of experts those that are chosen. */
function weightSpeed(
  described: Exclude<DescribedWorker, { readonly layerCurve: unknown }>,
  spec: ModelSpec,
): number {
  return 'weightBytesPerSecond' in described
    ? described.weightBytesPerSecond
    : described.decodeTokensPerSecond * (spec.layers * layerReads(spec, 1) + outputBytes(spec));
}

/** @param hostBytesPerSecond of the memory beside a card, where experts may lie */
function estimateCurves(
  spec: ModelSpec,
  bytesPerSecond: number,
  hostBytesPerSecond?: number,
): Pick<PlannerMember['profile'], 'layerCurve' | 'hostExperts' | 'outputCurve'> {
  /** Experts that no row of a step has chosen are not read, and a row computes with its own alone. */
  const curve = (readBy: (rows: number) => number, speed = bytesPerSecond): StepTime[] =>
    estimatedRows.map((rows) => ({
      rows,
      micros: ((readBy(rows) + readBy(1) * (rows - 1) * timePerFurtherRow) / speed) * 1e6,
    }));
  const layerCurve = curve((rows) => layerReads(spec, rows));
  const outputCurve = curve(() => outputBytes(spec));
  if (hostBytesPerSecond === undefined) return { layerCurve, outputCurve };
  const onCard = curve((rows) =>
    layerReads(spec, rows, ({ plainBytes }) => ({ plainBytes, expertBytes: 0 })),
  );
  const beside = curve(
    (rows) => layerReads(spec, rows, ({ expertBytes }) => ({ plainBytes: 0, expertBytes })),
    hostBytesPerSecond,
  );
  const both = onCard.map(({ rows, micros }, i) => ({ rows, micros: micros + (beside[i]?.micros ?? 0) }));
  return { layerCurve, hostExperts: { layerCurve: both }, outputCurve };
}

type Weights = Pick<LayerWeights, 'plainBytes' | 'expertBytes'>;

/** Bytes that so many rows read of a layer as they are on average, of all of its weights or of a part of them. */
function layerReads(spec: ModelSpec, rows: number, partOf: (all: Weights) => Weights = (all) => all): number {
  return layerKinds(spec).reduce(
    (sum, kind) => sum + (kind.layers.length / spec.layers) * readBytes({ ...kind, ...partOf(kind) }, rows),
    0,
  );
}

function toLink({ latencyMs, bandwidth, relayed }: DescribedNetwork): Link {
  return { latencyMicros: latencyMs * 1000, bytesPerSecond: bandwidth, isRelayed: relayed };
}

function keyOf(from: string | null, to: string | null): string {
  return JSON.stringify([from, to]);
}
