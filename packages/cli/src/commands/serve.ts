import { ButterflyError, type Logger, formatAddress, isLoopbackHost, limits } from '@butterfly/common';
import { authorityDirectory, type ClusterSecurity, keysDirectory } from '@butterfly/identity';
import type { ExpertWish, Objective, PlanWishes } from '@butterfly/planning';
import {
  type MtpWish,
  type WindowCache,
  type HttpOptions,
  type Serving,
  openApiAccess,
  openServerMetrics,
  startServing,
} from 'butterfly/command';
import { checkInsecure, usualLocalDevices } from 'butterfly/process';
import { Command } from 'commander';
import { openCacheDirectory } from '../cache-directory.js';
import { dataDirectoryOf } from '../joining/data-directory.js';
import type { Environment } from '../environment.js';
import { announce, type Announcement } from '../discovery/announce.js';
import { logFormatOption, openLog, type LogFlags } from '../log.js';
import { modelOpening } from '../offering/model-opening.js';
import { objectiveOption } from '../serve-options/objective-option.js';
import {
  allowHostOption,
  awakeOption,
  cacheBytesOption,
  cacheDirectoryOption,
  cacheTypeOption,
  certificateOptions,
  contextOption,
  corsOption,
  dataDirectoryOption,
  deterministicOption,
  devicesOption,
  expertsOption,
  insecureOption,
  streamKeepAliveOption,
  keyRequirementOptions,
  parallelOption,
  port,
  replicasOption,
  sparesOption,
  speculationOption,
  stateCheckpointsOption,
  verifyOption,
  wholeNumber,
} from '../options.js';
import { waitUntilReady } from '../progress.js';
import { promptOptions, type PromptFlags } from '../prompts.js';
import {
  addModelOptions,
  draftOf,
  type ModelFlags,
  sayModels,
  sayReady,
  sourcesOf,
} from '../offering/served-models.js';
import { stopSignal } from '../signals.js';
import { workerProgram } from '../worker-program.js';
import { mtpOption } from '../serve-options/mtp-option.js';
import {
  type JournalFlags,
  journalOption,
  journalWishes,
  natsOptions,
} from '../serve-options/journal-option.js';
import { tracesOf, tracesOption, type TracesFlags } from '../serve-options/traces-option.js';
import { windowCacheOption } from '../serve-options/window-cache-option.js';
import { print } from '../terminal.js';

interface ServeFlags extends LogFlags, PromptFlags, ModelFlags, JournalFlags, TracesFlags {
  readonly workers?: number;
  readonly device?: readonly string[];
  readonly experts: ExpertWish;
  readonly waitFor?: number;
  readonly threads?: number;
  readonly pin: boolean;
  readonly awake: boolean;
  readonly kvCacheType: string;
  readonly speculation: 'auto' | 'off';
  readonly mtp: MtpWish;
  readonly host: string;
  readonly port: number;
  readonly streamKeepAlive?: number;
  readonly cors?: readonly string[];
  readonly allowHost?: readonly string[];
  readonly requireKey?: boolean;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly clusterHost?: string;
  readonly clusterPort: number;
  readonly token?: string;
  readonly insecure?: 'loopback' | 'anywhere';
  readonly dataDir?: string;
  readonly ctx?: number;
  readonly parallel: number;
  readonly stateCheckpoints?: number;
  readonly windowCache: WindowCache;
  readonly objective: Objective;
  readonly stages?: number;
  readonly spares: number;
  readonly verify: number;
  readonly replicas: number;
  readonly deterministic?: boolean;
  readonly cacheBytes?: number;
  readonly announce?: boolean;
}

const examples = `
Examples:
  butterfly serve                                   the small model that ships with Butterfly
  butterfly serve model.gguf                        one local worker, API on http://127.0.0.1:8080
  butterfly serve model.gguf --workers 3            three local workers that share the layers
  butterfly serve hf:ORG/REPO:FILE.gguf             a model that "butterfly pull" brought
  butterfly serve model.gguf --workers 0 --wait-for 2 --cluster-host 0.0.0.0
                                                    wait for two workers from other machines
  butterfly serve model.gguf --workers 0 --wait-for 3 --spares 1
                                                    two that share the layers, and one that takes the place of either
  butterfly serve large.gguf small.gguf --alias fast=small --keep-alive 10m
                                                    two models, each unloaded when nobody asked for ten minutes
  butterfly serve model.gguf --wait-for 4 --replicas 2
                                                    two pipelines that share the requests, where each can hold the model`;

/** @param sayHow tells how workers join, where they may come from elsewhere */
export function serveCommand(environment: Environment, sayHow: SayHow = sayHowToJoin): Command {
  const described = new Command('serve').description(
    'Serve models over an OpenAI-style HTTP API, split across workers.',
  );
  const command = addModelOptions(described)
    .option(
      '--workers <n>',
      'local worker processes on the CPU; 0 waits for workers from elsewhere (default: one for each graphics card, else 1)',
      wholeNumber(0, limits.localWorkersMax),
    )
    .addOption(devicesOption())
    .addOption(expertsOption())
    .option(
      '--wait-for <n>',
      'workers from elsewhere to wait for before the first plan (default: 1 with --workers 0, else 0)',
      wholeNumber(0, 1024),
    )
    .option(
      '--threads <n>',
      'threads of each local worker (default: the cores, shared evenly)',
      wholeNumber(1, 512),
    )
    .option('--no-pin', 'let the system place several local workers, instead of giving each its own cores')
    .addOption(awakeOption())
    .option(
      '--cluster-host <address>',
      'where workers join (default: 127.0.0.1, or every address when others are waited for)',
    )
    .option('--cluster-port <n>', 'port where workers join; 0 chooses a free one', port, 7600)
    .option(
      '--token <text>',
      'join token to go on with, of "butterfly token create" (default: BUTTERFLY_TOKEN, else one that ends with this start)',
    )
    .addOption(dataDirectoryOption())
    .addOption(insecureOption())
    .option('--announce', 'let "worker --discover" find it on this network (default: where others may join)')
    .option('--no-announce', 'never announce it')
    .addOption(contextOption())
    .addOption(parallelOption())
    .addOption(stateCheckpointsOption())
    .addOption(windowCacheOption())
    .addOption(objectiveOption())
    .option(
      '--stages <n>',
      'as many stages at least, where there are as many workers (default: --workers, shared by the replicas)',
      wholeNumber(1, 1024),
    )
    .addOption(sparesOption())
    .addOption(verifyOption())
    .addOption(replicasOption())
    .addOption(cacheTypeOption())
    .addOption(speculationOption())
    .addOption(mtpOption())
    .addOption(deterministicOption())
    .addOption(cacheDirectoryOption())
    .addOption(cacheBytesOption())
    .addOption(tracesOption())
    .addOption(logFormatOption())
    .addHelpText('after', examples)
    .action((models: readonly string[], flags: ServeFlags) => serve(models, flags, environment, sayHow));
  addApiOptions(command);
  for (const option of promptOptions()) command.addOption(option);
  return command;
}

/** Where the API is, for whom, and what becomes of its answers. */
function addApiOptions(command: Command): void {
  command
    .option('--host <address>', 'where the HTTP API listens', '127.0.0.1')
    .option('--port <n>', 'port of the HTTP API; 0 chooses a free one', port, 8080)
    .addOption(streamKeepAliveOption())
    .addOption(journalOption())
    .addOption(corsOption())
    .addOption(allowHostOption());
  for (const option of [...natsOptions(), ...keyRequirementOptions(), ...certificateOptions()])
    command.addOption(option);
}

async function serve(
  named: readonly string[],
  flags: ServeFlags,
  environment: Environment,
  how: SayHow,
): Promise<void> {
  const log = await openLog(environment, flags, 'orchestrator');
  const http = await httpOf(flags, environment);
  // Drivers take their time, while the file is read.
  const devicesFound = localDevices(flags, log);
  const models = await sourcesOf(named, flags, environment);
  const devices = await devicesFound;
  const isBare = devices.length === 0;
  const workersElsewhere = flags.waitFor ?? (isBare ? 1 : 0);
  const othersMayJoin = isBare || workersElsewhere > 0 || flags.clusterHost !== undefined;
  const clusterHost = flags.clusterHost ?? (workersElsewhere > 0 ? '0.0.0.0' : '127.0.0.1');
  // Before there is anything that a signal would leave behind.
  const stopping = stopSignal();
  // Its workers look again, each for itself, without a word.
  if (devices.length > 0) await openCacheDirectory(flags.cacheDir, environment, log);
  const serving = await startServing({
    ...modelOpening(flags, environment, log),
    models,
    draft: await draftOf(flags, environment),
    keepMs: flags.keepAlive,
    http,
    clusterHost,
    clusterPort: flags.clusterPort,
    security: securityOf(flags, clusterHost, environment, log),
    devices,
    experts: flags.experts,
    workerProgram,
    workersElsewhere,
    othersMayJoin,
    threads: flags.threads,
    pin: flags.pin,
    awake: flags.awake,
    numerics: { kvCacheType: flags.kvCacheType, isDeterministic: flags.deterministic ?? false },
    wishes: wishesOf(flags, devices.length),
    speculation: flags.speculation,
    mtp: flags.mtp,
    verifyRate: verifyRateOf(flags),
    cacheDirectory: flags.cacheDir,
    cacheBytes: flags.cacheBytes,
    logFormat: flags.logFormat,
    metrics: await openServerMetrics({ isOfProcess: true }),
    traces: await tracesOf(flags, environment),
    capacity: capacityOf(flags),
    log,
  });
  const ending = Promise.race([stopping, serving.lost]);
  const announcement = announceIfWanted(flags.announce, clusterHost, serving, serving.first.id, log);
  sayModels(serving);
  if (othersMayJoin) how(serving);
  const apiAddress = formatAddress({ host: flags.host, port: serving.httpPort });
  say(`API on ${http.tls ? 'https' : 'http'}://${apiAddress}/v1, loading ...`);
  try {
    if (await waitUntilReady(serving, ending)) sayReady(serving);
    const error = await ending;
    if (error) throw error;
    say('Stopping: running requests may finish ...');
  } finally {
    await announcement?.stop();
    await serving.stop();
  }
}

const capacityOf = ({ ctx, parallel, stateCheckpoints, windowCache }: ServeFlags) => ({
  contextTokens: ctx,
  parallel,
  stateCheckpoints,
  windowCache,
});

type SayHow = (serving: Serving) => void;

function sayHowToJoin({ token, orchestrator }: Serving): void {
  say(`Join with: BUTTERFLY_TOKEN=${token} butterfly worker --join HOST:${orchestrator.clusterPort}`);
}

/** @throws ButterflyError CONFIG_INVALID for a cluster in the clear that others could reach */
function securityOf(
  { insecure, dataDir, token }: ServeFlags,
  clusterHost: string,
  environment: Environment,
  log: Logger,
): ClusterSecurity {
  const given = token ?? environment.BUTTERFLY_TOKEN;
  if (insecure !== undefined) {
    checkInsecure(clusterHost, insecure === 'anywhere', log);
    return { kind: 'insecure', token: given };
  }
  const directory = dataDirectoryOf(dataDir, environment);
  if (directory === null)
    log.warn(
      {},
      'The authority of the cluster ends with this start, since this user has no home directory: workers will need a token again. Say where to keep it with --data-dir.',
    );
  return {
    kind: 'certificates',
    directory: directory === null ? null : authorityDirectory(directory),
    token: given,
  };
}

/** @throws ButterflyError CONFIG_INVALID where clients need a key and there is none, or half of a certificate is given */
async function httpOf(
  {
    host,
    port: httpPort,
    streamKeepAlive,
    cors,
    allowHost,
    requireKey,
    tlsCert,
    tlsKey,
    dataDir,
    ...journalFlags
  }: ServeFlags,
  environment: Environment,
): Promise<HttpOptions> {
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new ButterflyError('CONFIG_INVALID', '--tls-cert and --tls-key go together; give both files.', {
      param: tlsCert === undefined ? 'tls-cert' : 'tls-key',
    });
  const directory = dataDirectoryOf(dataDir, environment);
  const access = await openApiAccess({
    host,
    isKeyRequired: requireKey,
    keysDirectory: directory === null ? null : keysDirectory(directory),
  });
  return {
    host,
    port: httpPort,
    access,
    tls:
      tlsCert === undefined || tlsKey === undefined
        ? undefined
        : { certificate: tlsCert, privateKey: tlsKey },
    keepAliveMs: streamKeepAlive,
    journal: journalWishes(journalFlags, directory),
    corsOrigins: cors,
    hostNames: allowHost,
  };
}

/** @throws ButterflyError CONFIG_INVALID where nobody could verify anything */
function verifyRateOf({ verify, spares }: ServeFlags): number {
  if (verify > 0 && spares === 0)
    throw new ButterflyError(
      'CONFIG_INVALID',
      '--verify has spare workers compute again what others did; keep some with --spares.',
      { param: 'verify' },
    );
  return verify;
}

function wishesOf({ objective, stages, replicas, spares }: ServeFlags, workers: number): PlanWishes {
  const stagesMin = stages ?? Math.max(1, Math.floor(workers / replicas));
  return { objective, stagesMin, spares, replicasMax: replicas };
}

/** Where local workers compute, one for each. */
async function localDevices({ workers, device }: ServeFlags, log: Logger): Promise<readonly string[]> {
  if (device) return device;
  return workers === undefined
    ? await usualLocalDevices(workerProgram, log)
    : Array.from({ length: workers }, () => 'cpu');
}

/** A cluster that only this machine can reach is nothing to tell others of, unless that is asked for. */
function announceIfWanted(
  isWanted: boolean | undefined,
  clusterHost: string,
  { orchestrator }: Serving,
  modelId: string,
  log: Logger,
): Announcement | null {
  if (!(isWanted ?? !isLoopbackHost(clusterHost))) return null;
  return announce({ clusterHost, clusterPort: orchestrator.clusterPort, modelId, log });
}

function say(text: string): void {
  print(`${text}\n`);
}
