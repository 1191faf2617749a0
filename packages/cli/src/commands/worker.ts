import { hostname } from 'node:os';
import { createLogger, parseAddress, toButterflyError, type Logger } from '@butterfly/common';
import { loadGgml, parseCpuList, pinToCpus } from '@butterfly/ggml';
import { describeWorker, Worker } from '@butterfly/worker';
import { Command } from 'commander';
import type { Environment } from '../environment.js';
import {
  availableMemoryBytes,
  byteCount,
  checkThreads,
  port,
  threadsPerWorker,
  warnOfCrowding,
  wholeNumber,
} from '../options.js';
import { stopSignal } from '../signals.js';
import { version } from '../version.js';

interface WorkerFlags {
  readonly join: string;
  readonly threads?: number;
  readonly cpus?: readonly number[];
  readonly memory?: number;
  readonly name?: string;
  readonly token?: string;
  readonly remoteOnly?: boolean;
  readonly dataHost?: string;
  readonly dataPort: number;
}

const examples = `
Examples:
  BUTTERFLY_TOKEN=... butterfly worker --join 192.168.1.10:7600
  butterfly worker --join desk:7600 --threads 4 --memory 6G --name laptop`;

export function workerCommand(environment: Environment): Command {
  return new Command('worker')
    .description('Offer this machine to an orchestrator: load the layers that it assigns and compute them.')
    .requiredOption('--join <host:port>', 'address of the orchestrator')
    .option(
      '--threads <n>',
      'threads for computing (default: one for each core, or each of --cpus)',
      wholeNumber(1, 512),
    )
    .option('--cpus <list>', 'CPUs to keep to, such as 0-1,4 (Linux only; default: any)', parseCpuList)
    .option(
      '--memory <bytes>',
      'memory to offer, such as 6G (default: nine tenths of what is available)',
      byteCount,
    )
    .option('--name <text>', 'how people call this worker (default: the host name)')
    .option('--token <text>', 'join token (default: BUTTERFLY_TOKEN, which other users cannot see)')
    .option('--remote-only', 'fetch all weights from the orchestrator even where the file is on this machine')
    .option(
      '--data-host <address>',
      'where it listens for the stage before it (default: every address, or loopback)',
    )
    .option('--data-port <n>', 'port for that; 0 chooses a free one', port, 0)
    .addHelpText('after', examples)
    .action((flags: WorkerFlags) => runWorker(flags, environment));
}

async function runWorker(flags: WorkerFlags, environment: Environment): Promise<void> {
  const join = parseAddress(flags.join);
  const log = createLogger({ level: environment.BUTTERFLY_LOG, name: flags.name ?? 'worker' });
  const isManaged = environment.BUTTERFLY_MANAGED === '1';
  // Before any thread is started that is not one of Node's own.
  if (flags.cpus) pin(flags.cpus, isManaged, log);
  const ggml = loadGgml({ directory: environment.BUTTERFLY_GGML_DIR, log });
  const threads = checkThreads(flags.threads ?? threadsPerWorker(1));
  // Whoever started it counts the threads of all of its workers.
  if (!isManaged) warnOfCrowding(1, threads, log);
  const identity = await describeWorker(ggml, {
    name: flags.name ?? hostname(),
    threads,
    memoryBytes: flags.memory ?? availableMemoryBytes(),
    version,
  });
  const worker = await Worker.start({
    join,
    token: flags.token ?? environment.BUTTERFLY_TOKEN ?? null,
    identity,
    ggml,
    log,
    remoteOnly: flags.remoteOnly ?? false,
    dataPort: flags.dataPort,
    ...(flags.dataHost === undefined ? {} : { dataHost: flags.dataHost }),
  });
  // Terminals and service managers signal the whole group; a managed worker ends when its parent has drained.
  if (isManaged) for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => undefined);
  else void stopSignal('SIGINT', 'SIGTERM').then(() => worker.stop());
  if (!isManaged)
    process.stdout.write(`Joined ${flags.join} as ${worker.id}, with ${identity.threads} threads.\n`);
  const error = await worker.closed;
  if (error && !isManaged) throw error;
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
