import { hostname } from 'node:os';
import {
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
  packageVersion,
} from '@butterfly/common';
import {
  type Device,
  type Ggml,
  expectedVersions,
  findDevice,
  listDevices,
  loadGgml,
  loadGpus,
  parseCpuList,
  pinToCpus,
} from '@butterfly/ggml';
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
  backendsDirectory,
  checkThreads,
  cpusOfWorkers,
  defaultCacheBytes,
  deviceMemoryBytes,
  managements,
  threadsPerWorker,
  usualLocalDevices,
  warnOfCrowding,
} from 'butterfly/process';
import { Command, Option } from 'commander';
import { openCacheDirectory, type CacheDirectory } from '../cache-directory.js';
import { crewMembers, type CrewFlags } from '../crew/crew-members.js';
import { runCrew } from '../crew/crew.js';
import { chooseOrchestrator, discover } from '../discovery/discover.js';
import type { Environment } from '../environment.js';
import { givenToken } from '../joining/join-token.js';
import { membershipOf, type MembershipFlags } from '../joining/membership.js';
import { logFormatOption, openLog, type LogFlags } from '../log.js';
import {
  awakeOption,
  byteCount,
  cacheBytesOption,
  cacheDirectoryOption,
  dataDirectoryOption,
  devicesOption,
  expertsOption,
  insecureOption,
  port,
  wholeNumber,
} from '../options.js';
import { stopSignal, stopSignals } from '../signals.js';
import { print } from '../terminal.js';
import { workerProgram } from '../worker-program.js';

interface WorkerFlags extends LogFlags, CrewFlags, MembershipFlags {
  readonly join?: string;
  readonly discover?: boolean;
  /** Where workers compute, one for each. */
  readonly device?: readonly string[];
  readonly threads?: number;
  readonly cpus?: readonly number[];
  readonly name?: string;
}

const examples = `
Examples:
  BUTTERFLY_TOKEN=... butterfly worker --join 192.168.1.10:7600
  butterfly worker --join desk:7600 --device vulkan1
  butterfly worker --join desk:7600 --device vulkan0,cpu   a card and the CPU beside it, as two workers
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
    .addOption(devicesOption())
    .option(
      '--threads <n>',
      'threads of each worker (default: one for each core, or each of --cpus, shared evenly)',
      wholeNumber(1, 512),
    )
    .option('--cpus <list>', 'CPUs to keep to, such as 0-1,4 (Linux only; default: any)', parseCpuList)
    .addOption(awakeOption())
    .option(
      '--memory <bytes>',
      'memory to offer, of each card if it computes on one, such as 6G (default: nine tenths of what is available)',
      byteCount,
    )
    .addOption(expertsOption())
    .option(
      '--host-memory <bytes>',
      'on graphics cards: memory of this machine to offer beside them (default: nine tenths of what is available)',
      byteCount,
    )
    .option(
      '--name <text>',
      'how people call this worker; of several, with the device behind it (default: the host name)',
    )
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
    .option('--data-port <n>', 'port for that, of several workers the first; 0 chooses free ones', port, 0)
    .option('--advertise <host:port>', 'where others reach that, behind a router or in a container')
    .addHelpText('after', examples)
    .action((flags: WorkerFlags) => runWorker(flags, environment));
}

async function runWorker(flags: WorkerFlags, environment: Environment): Promise<void> {
  checkTarget(flags);
  const log = await openLog(environment, flags, flags.name ?? 'worker');
  const management = environment.BUTTERFLY_MANAGED ?? null;
  // Before any thread is started that is not one of Node's own.
  if (flags.cpus) pin(flags.cpus, management !== null, log);
  const stopping = new AbortController();
  // One of a server that has not joined yet ends at once, and else when its parent has drained.
  if (management !== managements.byServer) void stopSignal().then(() => stopping.abort());
  if (management === managements.inCrew) followParent(stopping);
  const devices = flags.device ?? (await usualLocalDevices(workerProgram, log));
  const address = await addressOf(flags, waitMsOf(flags, management), stopping.signal);
  if (address === null) return;
  const place = { address, log, signal: stopping.signal };
  if (devices.length > 1) await runForDevices(devices, flags, environment, place);
  else await runForDevice(devices[0] ?? 'cpu', flags, environment, place);
}

/** Where a worker goes, whom it tells, and what stops it. */
interface Place {
  readonly address: string;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** A process for each of them. */
async function runForDevices(
  devices: readonly string[],
  flags: WorkerFlags,
  environment: Environment,
  { address, log, signal }: Place,
): Promise<void> {
  const threads = checkThreads(flags.threads ?? threadsPerWorker(devices.length));
  const members = crewMembers(devices, flags, {
    name: nameOf(flags),
    join: address,
    threads,
    cpus: cpusOfWorkers(devices.length, threads),
  });
  warnOfCrowding(devices.length, threads, log);
  // They look again, each for itself, without a word.
  await openCacheDirectory(flags.cacheDir, environment, log);
  print(`Starting a worker with ${threads} threads on each of ${devices.join(', ')}.\n`);
  const token = (await givenToken(flags, environment)) ?? null;
  await runCrew({ program: workerProgram, members, token, signal, log });
}

async function runForDevice(
  device: string,
  flags: WorkerFlags,
  environment: Environment,
  { address, log, signal }: Place,
): Promise<void> {
  const management = environment.BUTTERFLY_MANAGED ?? null;
  const options = await workerOptions(device, flags, environment, log);
  const { observe, identity } = options;
  using cores = flags.awake ? new AwakeCores({ clock: systemClock, observe }) : null;
  const say = (text: string): void =>
    print(management === managements.inCrew ? `${identity.name}: ${text}` : text);
  const join = parseAddress(address);
  const starting = Worker.start({
    ...options,
    join,
    membership: await membershipOf(flags, { name: identity.name, join, environment, log }),
    signal,
    onStep: () => cores?.stepPassed(),
    observe: (event) => {
      observe(event);
      if (management !== managements.byServer) tellPresence(event, address, say);
    },
  });
  const worker = await starting.catch((error: unknown) => {
    if (signal.aborted) return null;
    throw error;
  });
  if (!worker) return;
  // Terminals and service managers signal the whole group; one of a server ends when its parent has drained.
  if (management === managements.byServer) for (const each of stopSignals) process.on(each, () => undefined);
  else say(`Joined ${address} as ${worker.id}, with ${identity.threads} threads.\n`);
  const error = await worker.closed;
  if (error) throw error;
}

/** Ends with the process that started it, however that ends, and when it asks for that. */
function followParent(stopping: AbortController): void {
  process.once('disconnect', () => stopping.abort());
  // To listen is no reason to stay.
  process.channel?.unref();
}

function nameOf({ name }: WorkerFlags): string {
  return name ?? (hostname().trim() || 'worker');
}

/** What the worker is, wherever its orchestrator may be. */
async function workerOptions(
  deviceName: string,
  flags: WorkerFlags,
  environment: Environment,
  log: Logger,
): Promise<Omit<WorkerOptions, 'join'> & { readonly waitMs: number }> {
  const management = environment.BUTTERFLY_MANAGED ?? null;
  const isManaged = management !== null;
  // The memory of a machine is shared by the workers of a crew, whatever it is to be at most.
  const sharesMemory = management === managements.inCrew;
  // By the server that started it; a worker for several devices loads none itself.
  const areChecked = management === managements.byServer;
  const ggml = loadGgml({ directory: environment.BUTTERFLY_GGML_DIR, areChecked, log });
  const threads = checkThreads(flags.threads ?? threadsPerWorker(1));
  const device = chooseDevice(ggml, deviceName, environment, log);
  const memoryBytes =
    flags.memory ?? (device.kind === 'cpu' ? availableMemoryBytes() : deviceMemoryBytes(device));
  // Whoever started it counts the threads of all of its workers, and has warned for them of the cache.
  if (!isManaged) warnOfCrowding(1, threads, log);
  const cache = await openCacheDirectory(flags.cacheDir, environment, isManaged ? silentLogger : log);
  const self = {
    name: nameOf(flags),
    threads,
    memoryBytes,
    offersAllFree: flags.memory === undefined || (sharesMemory && device.kind === 'cpu'),
    version: packageVersion,
    machineId: await machineId(cache.path),
    device,
    ...(device.kind === 'cpu' ? {} : { host: hostOffer(flags, sharesMemory) }),
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
    waitMs: waitMsOf(flags, management),
    // Whoever started it starts another one, and must not leave it behind.
    rejoins: management !== managements.byServer,
    observe,
    remoteOnly: flags.remoteOnly ?? false,
    dataPort: flags.dataPort,
    ...(flags.dataHost === undefined ? {} : { dataHost: flags.dataHost }),
    ...(flags.advertise === undefined ? {} : { advertise: parseAddress(flags.advertise) }),
  };
}

/** What a worker on a card may take of the memory of this machine. */
function hostOffer({ hostMemory, experts }: WorkerFlags, isShared: boolean): HostOffer {
  return {
    memoryBytes: hostMemory ?? availableMemoryBytes(),
    offersAllFree: hostMemory === undefined || isShared,
    experts,
  };
}

/** @throws ButterflyError CONFIG_INVALID for a device that is not there */
function chooseDevice(ggml: Ggml, name: string, environment: Environment, log: Logger): Device {
  // What is not asked for cannot fail: drivers may end the process.
  if (name !== 'cpu')
    loadGpus(ggml, { backends: backendsDirectory(environment, expectedVersions.ggml), log });
  return findDevice(listDevices(ggml), name);
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

/** A server that started a worker is there. */
function waitMsOf({ wait = true }: WorkerFlags, management: Environment['BUTTERFLY_MANAGED'] | null): number {
  if (management === managements.byServer) return 0;
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
function tellPresence(event: WorkerEvent, address: string, say: (text: string) => void): void {
  if (event.kind === 'orchestratorAwaited')
    say(`Waiting for an orchestrator at ${address}. ${event.error.message} Dialling until it answers.\n`);
  else if (event.kind === 'orchestratorLost')
    say(`Lost ${address}: ${event.error.message} Trying to come back.\n`);
  else if (event.kind === 'orchestratorRejoined') say(`Back at ${address} as ${event.workerId}.\n`);
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
