import { hostname } from 'node:os';
import {
  ButterflyError,
  createLogger,
  formatAddress,
  parseAddress,
  systemClock,
  toButterflyError,
  type Logger,
} from '@butterfly/common';
import { loadGgml, parseCpuList, pinToCpus } from '@butterfly/ggml';
import {
  AwakeCores,
  describeWorker,
  machineId,
  nativeMachine,
  WeightCache,
  Worker,
  type WorkerPresence,
} from '@butterfly/worker';
import { Command } from 'commander';
import { workerDirectory } from '../directories.js';
import { chooseOrchestrator, discover } from '../discovery/discover.js';
import type { Environment } from '../environment.js';
import {
  availableMemoryBytes,
  checkThreads,
  defaultCacheBytes,
  threadsPerWorker,
  warnOfCrowding,
} from '../machine.js';
import {
  awakeOption,
  byteCount,
  cacheBytesOption,
  cacheDirectoryOption,
  port,
  wholeNumber,
} from '../options.js';
import { stopSignal } from '../signals.js';
import { version } from '../version.js';

interface WorkerFlags {
  readonly join?: string;
  readonly discover?: boolean;
  readonly threads?: number;
  readonly cpus?: readonly number[];
  readonly awake: boolean;
  readonly memory?: number;
  readonly name?: string;
  readonly token?: string;
  readonly remoteOnly?: boolean;
  readonly dataHost?: string;
  readonly dataPort: number;
  readonly advertise?: string;
  readonly cacheDir?: string;
  readonly cacheBytes?: number;
}

const examples = `
Examples:
  BUTTERFLY_TOKEN=... butterfly worker --join 192.168.1.10:7600
  butterfly worker --join desk:7600 --threads 4 --memory 6G --name laptop
  BUTTERFLY_TOKEN=... butterfly worker --discover   finds "butterfly serve --announce"`;

export function workerCommand(environment: Environment): Command {
  return new Command('worker')
    .description('Offer this machine to an orchestrator: load the layers that it assigns and compute them.')
    .option('--join <host:port>', 'address of the orchestrator')
    .option('--discover', 'join the only orchestrator that announces itself on this network')
    .option(
      '--threads <n>',
      'threads for computing (default: one for each core, or each of --cpus)',
      wholeNumber(1, 512),
    )
    .option('--cpus <list>', 'CPUs to keep to, such as 0-1,4 (Linux only; default: any)', parseCpuList)
    .addOption(awakeOption())
    .option(
      '--memory <bytes>',
      'memory to offer, such as 6G (default: nine tenths of what is available)',
      byteCount,
    )
    .option('--name <text>', 'how people call this worker (default: the host name)')
    .option('--token <text>', 'join token (default: BUTTERFLY_TOKEN, which other users cannot see)')
    .option('--remote-only', 'leave the model file alone where it is on this machine, and fetch the weights')
    .addOption(cacheDirectoryOption())
    .addOption(cacheBytesOption())
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
  const address = await addressOf(flags);
  const join = parseAddress(address);
  const log = createLogger({ level: environment.BUTTERFLY_LOG, name: flags.name ?? 'worker' });
  const isManaged = environment.BUTTERFLY_MANAGED === '1';
  // Before any thread is started that is not one of Node's own.
  if (flags.cpus) pin(flags.cpus, isManaged, log);
  const ggml = loadGgml({ directory: environment.BUTTERFLY_GGML_DIR, log });
  const threads = checkThreads(flags.threads ?? threadsPerWorker(1));
  // Whoever started it counts the threads of all of its workers.
  if (!isManaged) warnOfCrowding(1, threads, log);
  const memoryBytes = flags.memory ?? availableMemoryBytes();
  const name = flags.name ?? hostname();
  const directory = flags.cacheDir ?? workerDirectory(environment);
  const self = {
    name,
    threads,
    memoryBytes,
    offersAllFree: flags.memory === undefined,
    version,
    machineId: await machineId(directory),
  };
  using cores = flags.awake ? new AwakeCores({ clock: systemClock, log }) : null;
  const worker = await Worker.start({
    join,
    token: flags.token ?? environment.BUTTERFLY_TOKEN ?? null,
    identity: describeWorker(ggml, self),
    ...nativeMachine({ ggml, threads, memoryBytes, directory, log }),
    cache: await openCache(directory, flags.cacheBytes, log),
    // Whoever started it starts another one, and must not leave it behind.
    rejoins: !isManaged,
    log,
    onStep: () => cores?.stepPassed(),
    remoteOnly: flags.remoteOnly ?? false,
    dataPort: flags.dataPort,
    ...(flags.dataHost === undefined ? {} : { dataHost: flags.dataHost }),
    ...(flags.advertise === undefined ? {} : { advertise: parseAddress(flags.advertise) }),
    ...(isManaged ? {} : { onPresence: (presence) => tellPresence(presence, address) }),
  });
  // Terminals and service managers signal the whole group; a managed worker ends when its parent has drained.
  if (isManaged) for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => undefined);
  else void stopSignal('SIGINT', 'SIGTERM').then(() => worker.stop());
  if (!isManaged) process.stdout.write(`Joined ${address} as ${worker.id}, with ${threads} threads.\n`);
  const error = await worker.closed;
  if (!error) return;
  if (!isManaged) throw error;
  // Its parent tells by that whether it was sent away, and need not be started again; it has the reason in its log.
  process.exitCode = error.kind.exitCode;
}

/** @throws ButterflyError CONFIG_INVALID, or as `discover` and `chooseOrchestrator` */
async function addressOf({ join, discover: mayLook }: WorkerFlags): Promise<string> {
  if (join !== undefined) return join;
  if (mayLook) return formatAddress(chooseOrchestrator(await discover()));
  throw new ButterflyError(
    'CONFIG_INVALID',
    'Say where the orchestrator is with --join HOST:PORT, or let --discover look for it; see "butterfly worker --help".',
  );
}

async function openCache(
  directory: string,
  cacheBytes: number | undefined,
  log: Logger,
): Promise<WeightCache | null> {
  const bytesMax = cacheBytes ?? (await defaultCacheBytes(directory));
  return bytesMax === 0 ? null : WeightCache.open({ directory, bytesMax, log });
}

function tellPresence(presence: WorkerPresence, address: string): void {
  switch (presence.kind) {
    case 'lost':
      process.stdout.write(`Lost ${address}: ${presence.error.message} Trying to come back.\n`);
      return;
    case 'rejoined':
      process.stdout.write(`Back at ${address} as ${presence.workerId}.\n`);
      return;
    default:
      presence satisfies never;
  }
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
