import { constants } from 'node:fs';
import { access, mkdir, readFile, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { type Logger, toButterflyError, packageVersion } from '@butterfly/common';
import { cpuFeatures, expectedVersions, type Ggml, listDevices, loadGgml, loadGpus } from '@butterfly/ggml';
import { protocolVersion } from '@butterfly/wire';
import {
  availableMemoryBytes,
  backendsDirectory,
  dataDirectory,
  modelsDirectory,
  workerDirectory,
} from 'butterfly/process';
import type { Environment } from '../environment.js';

/** A folder that Butterfly writes to. */
export interface PlaceFacts {
  readonly use: string;
  /** Null where there is none. */
  readonly path: string | null;
  readonly isWritable: boolean;
  /** Of its disk, for this user; null where that cannot be told. */
  readonly freeBytes: number | null;
}

/** What was found of a machine, without any judgement. */
export interface MachineFacts {
  readonly node: string;
  readonly butterfly: string;
  readonly protocol: number;
  /** Of Node: `x64`, `arm64`. */
  readonly architecture: string;
  readonly library: { readonly version: string; readonly error: string | null };
  readonly devices: readonly {
    readonly name: string;
    readonly kind: string;
    readonly description: string;
    readonly freeBytes: number;
    readonly totalBytes: number;
  }[];
  readonly features: readonly string[];
  readonly cores: number;
  readonly availableBytes: number;
  /** The mode of transparent huge pages; null where the system has none. */
  readonly hugePages: string | null;
  readonly places: readonly PlaceFacts[];
  readonly ports: readonly { readonly port: number; readonly use: string; readonly isFree: boolean }[];
}

const usualPorts = [
  { port: 8080, use: 'API' },
  { port: 7600, use: 'cluster' },
] as const;

/** Looks at this machine; makes the folders that are missing, as every command does. */
export async function machineFacts(environment: Environment, log: Logger): Promise<MachineFacts> {
  const found = loadLibrary(environment, log);
  const places = {
    'models that were pulled': modelsDirectory(environment),
    'weights as kernels want them': workerDirectory(environment),
    'keys and certificates': dataDirectory(environment),
  };
  return {
    node: process.versions.node,
    butterfly: packageVersion,
    protocol: protocolVersion,
    architecture: process.arch,
    ...librariesFacts(found),
    cores: availableParallelism(),
    availableBytes: availableMemoryBytes(),
    hugePages: await hugePagesMode(),
    places: await Promise.all(Object.entries(places).map(([use, path]) => placeFacts(use, path))),
    ports: await Promise.all(usualPorts.map(async (each) => ({ ...each, isFree: await isFree(each.port) }))),
  };
}

type Found = { readonly ggml: Ggml } | { readonly error: string };

function loadLibrary(environment: Environment, log: Logger): Found {
  try {
    const ggml = loadGgml({ directory: environment.BUTTERFLY_GGML_DIR, log });
    loadGpus(ggml, { backends: backendsDirectory(environment, expectedVersions.ggml), log });
    return { ggml };
  } catch (error) {
    return { error: toButterflyError(error).message };
  }
}

function librariesFacts(found: Found): Pick<MachineFacts, 'library' | 'devices' | 'features'> {
  const { ggml: wanted } = expectedVersions;
  if ('error' in found)
    return { library: { version: wanted, error: found.error }, devices: [], features: [] };
  return {
    library: { version: wanted, error: null },
    devices: listDevices(found.ggml),
    features: cpuFeatures(found.ggml),
  };
}

async function hugePagesMode(): Promise<string | null> {
  const modes = await readFile('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8').catch(() => '');
  return /\[(\w+)\]/.exec(modes)?.[1] ?? null;
}

/** Makes the folder if it is missing. */
export async function placeFacts(use: string, path: string | null): Promise<PlaceFacts> {
  if (path === null) return { use, path, isWritable: false, freeBytes: null };
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    await access(path, constants.W_OK);
    const { bavail, bsize } = await statfs(path);
    return { use, path, isWritable: true, freeBytes: bavail * bsize };
  } catch {
    return { use, path, isWritable: false, freeBytes: null };
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
