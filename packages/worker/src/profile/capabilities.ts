import { arch, platform } from 'node:os';
import { type Device, type Ggml, cpuFeatures } from '@butterfly/ggml';
import type { WorkerIdentity } from '@butterfly/wire';

/** The variant of the CPU library that ggml chose for this processor, such as "sapphirerapids"; ggml itself does not say. */
export function cpuVariant(): string {
  const { sharedObjects } = process.report.getReport() as { readonly sharedObjects?: readonly string[] };
  for (const path of sharedObjects ?? []) {
    const variant = /ggml-cpu-(\w+)\.(?:so|dylib|dll)$/u.exec(path)?.[1];
    if (variant !== undefined) return variant;
  }
  return 'generic';
}

/** What a worker on a card offers beside it. */
export type HostOffer = NonNullable<NonNullable<WorkerIdentity['device']>['host']>;

/** What a worker tells about itself when it joins, but for its data port and what it holds. */
export function describeWorker(
  ggml: Ggml,
  options: {
    readonly name: string;
    readonly threads: number;
    readonly memoryBytes: number;
    /** Whether that is all that was free here. */
    readonly offersAllFree?: boolean;
    readonly version: string;
    readonly machineId: string;
    /** Where it computes. */
    readonly device?: Device;
    /** What it may take of the memory of this machine, where it computes on a card. */
    readonly host?: HostOffer;
  },
): Omit<WorkerIdentity, 'dataPort'> {
  const { device, host } = options;
  return {
    name: options.name,
    machineId: options.machineId,
    butterflyVersion: options.version,
    ggmlVersion: ggml.ggmlVersion,
    cpuVariant: cpuVariant(),
    cpuFeatures: [...cpuFeatures(ggml)],
    platform: platform(),
    arch: arch(),
    threads: options.threads,
    ...(device && device.kind !== 'cpu'
      ? {
          device: {
            name: device.name,
            kind: device.kind,
            description: device.description.slice(0, 200),
            ...(host ? { host } : {}),
          },
        }
      : {}),
    memoryBytes: options.memoryBytes,
    offersAllFree: options.offersAllFree ?? false,
  };
}
