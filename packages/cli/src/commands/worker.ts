import { hostname } from 'node:os';
import { join as pathJoin } from 'node:path';
import {
  type Address,
  ButterflyError,
  type Logger,
  type WorkerEvent,
  type WorkerObserver,
  formatAddress,
  parseAddress,
  silentLogger,
  systemClock,
  toButterflyError,
  workerLogObserver,
} from '@butterfly/common';
import {
  type Device,
  type Ggml,
  findDevice,
  listDevices,
  loadGgml,
  loadGpus,
  parseCpuList,
  pinToCpus,
  usualDevice,
} from '@butterfly/ggml';
import {
  CertificateMembership,
  CredentialFiles,
  type Membership,
  parseJoinToken,
  plainMembership,
} from '@butterfly/identity';
import type { ExpertWish } from '@butterfly/planning';
import { WeightCache } from '@butterfly/weights';
import {
  AwakeCores,
  type HostOffer,
  Worker,
  type WorkerOptions,
  describeWorker,
  machineId,
  nativeMachine,
} from '@butterfly/worker';
import {
  availableMemoryBytes,
  checkInsecure,
  checkThreads,
  defaultCacheBytes,
  deviceMemoryBytes,
  threadsPerWorker,
  warnOfCrowding,
} from 'butterfly/process';
import { Command, Option } from 'commander';
import { openCacheDirectory, type CacheDirectory } from '../cache-directory.js';
import { chooseOrchestrator, discover } from '../discovery/discover.js';
import { dataDirectoryOf } from '../joining/data-directory.js';
import type { Environment } from '../environment.js';
import { givenToken, type TokenFlags } from '../joining/join-token.js';
import { logFormatOption, openLog, type LogFlags } from '../log.js';
import {
  awakeOption,
  byteCount,
  cacheBytesOption,
  cacheDirectoryOption,
  dataDirectoryOption,
  expertsOption,
  insecureOption,
  port,
  wholeNumber,
} from '../options.js';
import { stopSignal, stopSignals } from '../signals.js';
import { print } from '../terminal.js';
import { version } from '../version.js';

interface WorkerFlags extends LogFlags, TokenFlags {
  readonly join?: string;
  readonly discover?: boolean;
  /** Seconds; true without a number, for ever. */
  readonly wait?: number | true;
  readonly device?: string;
  readonly threads?: number;
  readonly cpus?: readonly number[];
  readonly awake: boolean;
  readonly memory?: number;
  readonly experts: ExpertWish;
  readonly hostMemory?: number;
  readonly name?: string;
  readonly insecure?: 'loopback' | 'anywhere';
  readonly dataDir?: string;
  readonly remoteOnly?: boolean;
  readonly dataHost?: string;
  readonly dataPort: number;
  readonly advertise?: string;
  readonly cacheDir?: string;
  readonly cacheBytes?: number;
}

interface MembershipContext {
  readonly name: string;
  /** The orchestrator. */
  readonly join: Address;
  readonly environment: Environment;
  readonly log: Logger;
}

const examples = `
Examples:
  BUTTERFLY_TOKEN=... butterfly worker --join 192.168.1.10:7600
  butterfly worker --join desk:7600 --device vulkan1
  butterfly worker --join desk:7600 --threads 4 --memory 6G --name laptop
  BUTTERFLY_TOKEN=... butterfly worker --discover   finds "butterfly serve --announce"`;

export function workerCommand(environment: Environment): Command {
  return new Command('worker')
    .description('Offer this machine to an orchestrator: load the layers that it assigns and compute them.')
    .option('--join <host:port>', 'address of the orchestrator')
    .option('--discover', 'join the only orchestrator that announces itself on this network')
    .option(
      '--wait [seconds]',
      'how long to dial an orchestrator that is not there yet; 0 dials once (default: until it is)',
      wholeNumber(0, 31_536_000),
    )
    .option(
      '--device <name>',
      'where to compute, as "butterfly devices" calls it (default: the first graphics card, else cpu)',
    )
    .option(
      '--threads <n>',
      'threads for computing (default: one for each core, or each of --cpus)',
      wholeNumber(1, 512),
    )
    .option('--cpus <list>', 'CPUs to keep to, such as 0-1,4 (Linux only; default: any)', parseCpuList)
    .addOption(awakeOption())
    .option(
      '--memory <bytes>',
      'memory to offer, of the card if it computes on one, such as 6G (default: nine tenths of what is available)',
      byteCount,
    )
    .addOption(expertsOption())
    .option(
      '--host-memory <bytes>',
      'on a graphics card: memory of this machine to offer beside it (default: nine tenths of what is available)',
      byteCount,
    )
    .option('--name <text>', 'how people call this worker (default: the host name)')
    .addOption(
      new Option(
        '--token <text>',
        'join token, which is needed once (default: BUTTERFLY_TOKEN, which other users cannot see)',
      ).conflicts('tokenFile'),
    )
    .option('--token-file <path>', 'file with the join token; - for standard input')
    .addOption(dataDirectoryOption())
    .addOption(insecureOption())
    .option('--remote-only', 'leave the model file alone where it is on this machine, and fetch the weights')
    .addOption(cacheDirectoryOption())
    .addOption(cacheBytesOption())
    .addOption(logFormatOption())
    .option(
      '--data-host <address>',
      'where it listens for other workers (default: every address, or loopback)',
    )
    .option('--data-port <n>', 'port for that; 0 chooses a free one', port, 0)
    .option('--advertise <host:port>', 'where others reach that, behind a router or in a container')
    .addHelpText('after', examples)
    .action((flags: WorkerFlags) => runWorker(flags, environment));
}

async function runWorker(flags: WorkerFlags, environment: Environment): Promise<void> {
  checkTarget(flags);
  const log = await openLog(environment, flags, flags.name ?? 'worker');
  const isManaged = environment.BUTTERFLY_MANAGED === '1';
  // Before any thread is started that is not one of Node's own.
  if (flags.cpus) pin(flags.cpus, isManaged, log);
  const stopping = new AbortController();
  // A managed worker that has not joined yet ends at once.
  if (!isManaged) void stopSignal().then(() => stopping.abort());
  const options = await workerOptions(flags, environment, log);
  const { observe } = options;
  using cores = flags.awake ? new AwakeCores({ clock: systemClock, observe }) : null;
  const { signal } = stopping;
  const address = await addressOf(flags, options.waitMs, signal);
  if (address === null) return;
  const join = parseAddress(address);
  const starting = Worker.start({
    ...options,
    join,
    membership: await membershipOf(flags, { name: options.identity.name, join, environment, log }),
    signal,
    onStep: () => cores?.stepPassed(),
    observe: (event) => {
      observe(event);
      if (!isManaged) tellPresence(event, address);
    },
  });
  const worker = await starting.catch((error: unknown) => {
    if (signal.aborted) return null;
    throw error;
  });
  if (!worker) return;
  // Terminals and service managers signal the whole group; a managed worker ends when its parent has drained.
  if (isManaged) for (const each of stopSignals) process.on(each, () => undefined);
  else print(`Joined ${address} as ${worker.id}, with ${options.identity.threads} threads.\n`);
  const error = await worker.closed;
  if (error) throw error;
}

/**
 * How the worker proves itself: by a certificate, kept for the next start unless whoever started it brings a token each time.
 * @throws ButterflyError CONFIG_INVALID for a token that is none, or for --insecure to another machine
 */
async function membershipOf(
  flags: WorkerFlags,
  { name, join, environment, log }: MembershipContext,
): Promise<Membership> {
  const token = await givenToken(flags, environment);
  const isManaged = environment.BUTTERFLY_MANAGED === '1';
  if (flags.insecure !== undefined) {
    checkInsecure(join.host, flags.insecure === 'anywhere', isManaged ? silentLogger : log);
    return plainMembership(token ?? null);
  }
  const directory = isManaged ? null : dataDirectoryOf(flags.dataDir, environment);
  return CertificateMembership.open({
    name,
    joinToken: token === undefined ? null : parseJoinToken(token),
    files: directory === null ? null : new CredentialFiles(pathJoin(directory, 'workers')),
    clock: systemClock,
    onUnkept: (cause) =>
      log.warn(
        { reason: toButterflyError(cause).message },
        'The certificate of this worker cannot be kept, so that its next start needs a token again; choose another folder with --data-dir.',
      ),
  });
}

/** What the worker is, wherever its orchestrator may be. */
async function workerOptions(
  flags: WorkerFlags,
  environment: Environment,
  log: Logger,
): Promise<Omit<WorkerOptions, 'join'> & { readonly waitMs: number }> {
  const isManaged = environment.BUTTERFLY_MANAGED === '1';
  const ggml = loadGgml({ directory: environment.BUTTERFLY_GGML_DIR, log });
  const threads = checkThreads(flags.threads ?? threadsPerWorker(1));
  const device = chooseDevice(ggml, flags.device, log);
  const memoryBytes =
    flags.memory ?? (device.kind === 'cpu' ? availableMemoryBytes() : deviceMemoryBytes(device));
  // Whoever started it counts the threads of all of its workers, and has warned for them of the cache.
  if (!isManaged) warnOfCrowding(1, threads, log);
  const cache = await openCacheDirectory(flags.cacheDir, environment, isManaged ? silentLogger : log);
  const self = {
    name: flags.name ?? (hostname().trim() || 'worker'),
    threads,
    memoryBytes,
    offersAllFree: flags.memory === undefined,
    version,
    machineId: await machineId(cache.path),
    device,
    ...(device.kind === 'cpu' ? {} : { host: hostOffer(flags) }),
  };
  const { host } = self;
  const directory = cache.isWritable ? cache.path : null;
  const observe = workerLogObserver(log);
  return {
    ...nativeMachine({
      ggml,
      threads,
      device: device.name,
      memoryBytes,
      ...(host ? { host } : {}),
      directory,
      observe,
    }),
    identity: describeWorker(ggml, self),
    cache: await openCache(cache, flags.cacheBytes, observe),
    waitMs: waitMsOf(flags, isManaged),
    // Whoever started it starts another one, and must not leave it behind.
    rejoins: !isManaged,
    observe,
    remoteOnly: flags.remoteOnly ?? false,
    dataPort: flags.dataPort,
    ...(flags.dataHost === undefined ? {} : { dataHost: flags.dataHost }),
    ...(flags.advertise === undefined ? {} : { advertise: parseAddress(flags.advertise) }),
  };
}

/** What a worker on a card may take of the memory of this machine. */
function hostOffer({ hostMemory, experts }: WorkerFlags): HostOffer {
  return {
    memoryBytes: hostMemory ?? availableMemoryBytes(),
    offersAllFree: hostMemory === undefined,
    experts,
  };
}

/** @throws ButterflyError CONFIG_INVALID for a device that is not there */
function chooseDevice(ggml: Ggml, name: string | undefined, log: Logger): Device {
  // What is not asked for cannot fail: drivers may end the process.
  if (name !== 'cpu') loadGpus(ggml, log);
  const devices = listDevices(ggml);
  return name === undefined ? usualDevice(devices) : findDevice(devices, name);
}

/** @throws ButterflyError CONFIG_INVALID, ADDRESS_INVALID */
function checkTarget({ join, discover: mayLook, advertise }: WorkerFlags): void {
  for (const address of [join, advertise]) if (address !== undefined) parseAddress(address);
  if (join === undefined && !mayLook)
    throw new ButterflyError(
      'CONFIG_INVALID',
      'Say where the orchestrator is with --join HOST:PORT, or let --discover look for it; see "butterfly worker --help".',
    );
}

/** Whoever started a managed worker is there. */
function waitMsOf({ wait = true }: WorkerFlags, isManaged: boolean): number {
  if (isManaged) return 0;
  return wait === true ? Infinity : wait * 1000;
}

/**
 * Where the orchestrator is, once it announces itself; null when it is stopped before.
 * @throws ButterflyError as `discover` and `chooseOrchestrator`
 */
async function addressOf(
  { join }: WorkerFlags,
  waitMs: number,
  stopping: AbortSignal,
): Promise<string | null> {
  if (join !== undefined) return join;
  const endMs = systemClock.nowMs() + waitMs;
  for (let isTold = false; !stopping.aborted; isTold = true) {
    const found = await discover();
    if (found.length > 0 || systemClock.nowMs() >= endMs) return formatAddress(chooseOrchestrator(found));
    if (!isTold) print('Waiting for an orchestrator that announces itself on this network.\n');
  }
  return null;
}

async function openCache(
  { path, isWritable }: CacheDirectory,
  cacheBytes: number | undefined,
  observe: WorkerObserver,
): Promise<WeightCache | null> {
  if (path === null) return null;
  const bytesMax = cacheBytes ?? (await defaultCacheBytes(path));
  return bytesMax === 0
    ? null
    : WeightCache.open({ directory: path, bytesMax, isReadOnly: !isWritable, observe });
}

/** What becomes of the connection, for whoever sits at the terminal. */
function tellPresence(event: WorkerEvent, address: string): void {
  if (event.kind === 'orchestratorAwaited')
    print(`Waiting for an orchestrator at ${address}. ${event.error.message} Dialling until it answers.\n`);
  else if (event.kind === 'orchestratorLost')
    print(`Lost ${address}: ${event.error.message} Trying to come back.\n`);
  else if (event.kind === 'orchestratorRejoined') print(`Back at ${address} as ${event.workerId}.\n`);
}

/** @throws ButterflyError CONFIG_INVALID, unless it was the idea of `serve`, which can do without. */
function pin(cpus: readonly number[], isManaged: boolean, log: Logger): void {
  try {
    pinToCpus(cpus);
  } catch (thrown) {
    if (!isManaged) throw thrown;
    log.warn({ cpus }, toButterflyError(thrown).message);
  }
}
