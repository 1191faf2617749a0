import { plainWishes } from '@butterfly/planning';
import { type Serving, resolveModelPath, startServing } from 'butterfly/command';
import type { Command } from 'commander';
import { openCacheDirectory } from './cache-directory.js';
import type { Environment } from './environment.js';
import { logFormatOption, openLog, type LogFlags } from './log.js';
import {
  awakeOption,
  cacheBytesOption,
  cacheDirectoryOption,
  cacheTypeOption,
  deterministicOption,
  speculationOption,
  wholeNumber,
} from './options.js';
import { modelOpening } from './offering/model-opening.js';
import { promptOptions, type PromptFlags } from './prompts.js';
import { workerProgram } from './worker-program.js';

/** Nobody else knows the port. */
const openToAll = { keys: null, isKeyRequired: false };

/** How a command has a model for itself, on workers of its own. */
export interface LocalFlags extends LogFlags, PromptFlags {
  readonly workers: number;
  readonly threads?: number;
  readonly awake: boolean;
  readonly kvCacheType: string;
  readonly speculation: 'auto' | 'off';
  readonly deterministic?: boolean;
  readonly ctx?: number;
  readonly cacheDir?: string;
  readonly cacheBytes?: number;
}

/** Adds the options of `LocalFlags`. */
export function addLocalOptions(command: Command): Command {
  command
    .option('--workers <n>', 'local worker processes', wholeNumber(1, 64), 1)
    .option(
      '--threads <n>',
      'threads of each worker (default: the cores, shared evenly)',
      wholeNumber(1, 512),
    )
    .addOption(awakeOption())
    .option('--ctx <tokens>', 'context (default: as trained, at most 4096)', wholeNumber(8, 1 << 20))
    .addOption(cacheTypeOption())
    .addOption(speculationOption())
    .addOption(deterministicOption())
    .addOption(cacheDirectoryOption())
    .addOption(cacheBytesOption())
    .addOption(logFormatOption());
  for (const option of promptOptions()) command.addOption(option);
  return command;
}

/** What a command wants of its serving. */
interface LocalWishes {
  /** Its name, for the log. */
  readonly command: string;
  /** Whether the API is there too, on a loopback port of the system's choice. */
  readonly hasApi: boolean;
  /** Requests at once. */
  readonly parallel: number;
  readonly objective: 'latency' | 'throughput';
  /** States kept of recurrent models; undefined for as many as are usual. */
  readonly stateCheckpoints: number | undefined;
}

/** Starts an orchestrator and its local workers for this command alone. @throws ButterflyError as `startServing` does */
export async function startLocal(
  named: string,
  flags: LocalFlags,
  environment: Environment,
  { command, hasApi, parallel, objective, stateCheckpoints }: LocalWishes,
): Promise<Serving> {
  const log = await openLog(environment, flags, command);
  const path = await resolveModelPath(named, environment, flags.cacheDir);
  // Its workers look again, each for itself, without a word.
  await openCacheDirectory(flags.cacheDir, environment, log);
  return startServing({
    ...modelOpening(flags, environment, log),
    models: [{ path, aliases: [] }],
    keepMs: Infinity,
    http: hasApi ? { host: '127.0.0.1', port: 0, access: openToAll } : null,
    clusterHost: '127.0.0.1',
    clusterPort: 0,
    // Of nobody else: what it made ends with the command.
    security: { kind: 'certificates', directory: null, token: undefined },
    devices: Array.from({ length: flags.workers }, () => 'cpu'),
    workerProgram,
    workersElsewhere: 0,
    othersMayJoin: false,
    threads: flags.threads,
    pin: true,
    awake: flags.awake,
    numerics: { kvCacheType: flags.kvCacheType, isDeterministic: flags.deterministic ?? false },
    wishes: { ...plainWishes, objective, stagesMin: flags.workers },
    speculation: flags.speculation,
    mtp: 'off',
    capacity: { contextTokens: flags.ctx, parallel, stateCheckpoints, windowCache: 'auto' },
    cacheDirectory: flags.cacheDir,
    cacheBytes: flags.cacheBytes,
    logFormat: flags.logFormat,
    log,
  });
}
