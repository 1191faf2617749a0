import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { type Logger, printableLine, workerLogObserver } from '@butterfly/common';
import { loadGgml } from '@butterfly/ggml';
import { type ModelSpec, cacheBlockSlots, windowsOf } from '@butterfly/model';
import { loopbackLink, stepRowsMax } from '@butterfly/orchestrator';
import {
  type Objective,
  type PlannerInput,
  cacheTypeFor,
  drawPlan,
  explainPlan,
  planPipeline,
  planReplicas,
  plannerInput,
} from '@butterfly/planning';
import { nativeMachine } from '@butterfly/worker';
import {
  type MtpWish,
  type WindowCache,
  contextTokens,
  ownModel,
  readModelSpec,
  resolveModelPath,
  servedModel,
  surveysDirectory,
} from 'butterfly/command';
import { availableMemoryBytes, checkThreads, threadsPerWorker } from 'butterfly/process';
import { Command } from 'commander';
import { openCacheDirectory } from '../cache-directory.js';
import { addSecretOptions, administratorOf, type SecretFlags } from '../admin-client/administrator.js';
import { readMachines, type Machines } from '../admin-client/machines.js';
import { drawRunningPlan } from '../admin-client/running-plan.js';
import type { Environment } from '../environment.js';
import { logFormatOption, openLog, type LogFlags } from '../log.js';
import { objectiveOption } from '../serve-options/objective-option.js';
import {
  byteCount,
  cacheDirectoryOption,
  cacheTypeOption,
  contextOption,
  parallelOption,
  replicasOption,
  sparesOption,
  stateCheckpointsOption,
  wholeNumber,
} from '../options.js';
import { layersTogether } from '../layers-together.js';
import { headWords, mtpOption } from '../serve-options/mtp-option.js';
import { windowCacheOption, windowWords } from '../serve-options/window-cache-option.js';
import { print, tell } from '../terminal.js';

interface PlanFlags extends LogFlags, SecretFlags {
  readonly workers: number;
  readonly workersFile?: string;
  readonly of?: string;
  readonly threads?: number;
  readonly memory?: number;
  readonly objective: Objective;
  readonly stages?: number;
  readonly spares: number;
  readonly replicas: number;
  readonly kvCacheType: string;
  readonly ctx?: number;
  readonly parallel: number;
  readonly stateCheckpoints?: number;
  readonly windowCache: WindowCache;
  readonly mtp: MtpWish;
  readonly json?: boolean;
  readonly cacheDir?: string;
}

const examples = `
Examples:
  butterfly plan model.gguf --workers 2             for this machine, which is measured
  butterfly plan model.gguf --workers-file home.json --objective latency
  butterfly plan model.gguf --workers-file home.json --replicas 2
  butterfly plan --of http://127.0.0.1:8080         of a running server: predicted beside measured

A file of workers:
  { "workers": [
      { "name": "desk", "memory": "16G", "decodeTokensPerSecond": 40 },
      { "name": "laptop", "memory": "8G", "weightBytesPerSecond": "15GB" } ],
    "network": { "latencyMs": 0.2, "bandwidth": "1Gbit" },
    "links": [ { "from": "desk", "to": "laptop", "latencyMs": 2, "bandwidth": "300Mbit" } ] }
  What "butterfly status --json" prints is taken as well.`;

export function planCommand(environment: Environment): Command {
  return addSecretOptions(
    new Command('plan')
      .description('Show which worker would hold which layers, how fast that would be, and why.')
      .argument(
        '[model]',
        'GGUF file, or hf:ORG/REPO:FILE that was pulled (default: the small one that ships with Butterfly)',
        ownModel,
      )
      .option('--workers <n>', 'workers on this machine, which is measured for that', wholeNumber(1, 64), 1)
      .option('--workers-file <path>', 'JSON file that describes other machines instead')
      .option('--of <url>', 'show the plan of this running server instead'),
  )
    .option(
      '--threads <n>',
      'threads of each local worker (default: the cores, shared evenly)',
      wholeNumber(1, 512),
    )
    .option(
      '--memory <bytes>',
      'memory of each local worker (default: what is available, shared evenly)',
      byteCount,
    )
    .addOption(objectiveOption())
    .option(
      '--stages <n>',
      'as many stages at least (default: --workers, shared by the replicas, or 1 for a file)',
      wholeNumber(1, 1024),
    )
    .addOption(sparesOption())
    .addOption(replicasOption())
    .addOption(cacheTypeOption())
    .addOption(contextOption())
    .addOption(parallelOption())
    .addOption(stateCheckpointsOption())
    .addOption(windowCacheOption())
    .addOption(mtpOption())
    .addOption(cacheDirectoryOption())
    .addOption(logFormatOption())
    .option('--json', 'print JSON')
    .addHelpText('after', examples)
    .action((model: string, flags: PlanFlags) =>
      flags.of === undefined ? planModel(model, flags, environment) : planOf(flags.of, flags, environment),
    );
}

async function planModel(named: string, flags: PlanFlags, environment: Environment): Promise<void> {
  const log = await openLog(environment, flags, 'plan');
  const path = resolve(await resolveModelPath(named, environment, flags.cacheDir));
  const described = await readModelSpec(path, {
    ggmlDirectory: environment.BUTTERFLY_GGML_DIR,
    surveys: surveysDirectory(environment, flags.cacheDir),
    log,
  });
  const tokens = contextTokens(described, flags.ctx, log);
  // As it would be served: with states for as many sequences.
  const spec = servedModel(described, {
    contextTokens: tokens,
    parallel: flags.parallel,
    checkpoints: flags.stateCheckpoints,
    windowCache: flags.windowCache,
    mtp: flags.mtp,
  });
  const machines =
    flags.workersFile === undefined
      ? await measureLocal(spec, flags, environment, log)
      : await readMachines(flags.workersFile, spec);
  const contextSlots = Math.ceil(tokens / cacheBlockSlots) * cacheBlockSlots;
  const localStages = Math.max(1, Math.floor(flags.workers / flags.replicas));
  const choice = cacheTypeFor(spec, machines.members, flags.kvCacheType);
  const input = plannerInput(
    {
      spec,
      arenaSlots: contextSlots * flags.parallel,
      rowsMax: stepRowsMax(spec, tokens),
      concurrency: flags.parallel,
      wishes: {
        objective: flags.objective,
        stagesMin: flags.stages ?? (flags.workersFile === undefined ? localStages : 1),
        spares: flags.spares,
        replicasMax: flags.replicas,
      },
    },
    machines.members,
    machines.link,
    choice.type,
  );
  const replicas = partsOf(input, flags.replicas).map((part) => {
    const plan = planPipeline(part);
    return { part, plan, explanation: explainPlan(part, plan) };
  });
  if (flags.json) {
    const [first, ...others] = replicas.map(({ plan, explanation }) => ({ plan, ...explanation }));
    const { arenaSlots } = input.model;
    const all = others.length === 0 ? first : { replicas: [first, ...others] };
    const windows = windowsOf(spec);
    print(`${JSON.stringify({ model: spec.name, arenaSlots, windows, ...all }, null, 2)}\n`);
    return;
  }
  const pictures = replicas.flatMap(({ part, plan, explanation }, index) => [
    ...(replicas.length === 1 ? [] : [`Replica ${index + 1} of ${replicas.length}`]),
    ...drawPlan(part, plan, explanation),
    '',
  ]);
  const rate = replicas.reduce((sum, { plan }) => sum + plan.predicted.tokensPerSecond, 0);
  const total = replicas.length === 1 ? '' : `All replicas together make ${rate.toFixed(1)} tokens/s. `;
  const joined = layersTogether(spec);
  const together = joined === null ? '' : ` Of this model, ${joined} stay in one stage.`;
  const beside = [windowWords(spec), headWords(spec)].filter((words) => words !== null);
  const cache = [`The KV cache is ${choice.type}. ${choice.reason}`, ...beside];
  const lines = [...pictures, `${total}${cache.join(' ')}${together}`];
  print(`${lines.map(printableLine).join('\n')}\n`);
}

/** What each replica is planned from. */
function partsOf(input: PlannerInput, replicasMax: number): PlannerInput[] {
  if (replicasMax === 1) return [input];
  return planReplicas(input, replicasMax).groups.map((group) => ({
    ...input,
    workers: input.workers.filter(({ workerId }) => group.includes(workerId)),
  }));
}

/** This machine as some workers that are alike. */
async function measureLocal(
  spec: ModelSpec,
  { workers, threads: wanted, memory, cacheDir }: PlanFlags,
  environment: Environment,
  log: Logger,
): Promise<Machines> {
  const threads = checkThreads(wanted ?? threadsPerWorker(workers));
  const memoryBytes = memory ?? Math.floor(availableMemoryBytes() / workers);
  const ggml = loadGgml({ directory: environment.BUTTERFLY_GGML_DIR, log });
  const { path, isWritable } = await openCacheDirectory(cacheDir, environment, log);
  const directory = isWritable ? path : null;
  if (process.stderr.isTTY)
    tell(`Measuring this machine with ${threads} of ${availableParallelism()} threads ...\n`);
  const machine = nativeMachine({
    ggml,
    threads,
    device: 'cpu',
    memoryBytes,
    directory,
    observe: workerLogObserver(log),
  });
  const profile = await machine.profiler(spec, false);
  return {
    members: Array.from({ length: workers }, (_, index) => {
      const name = `local-${index + 1}`;
      return { workerId: name, name, memoryBytes, profile };
    }),
    link: () => ({ ...loopbackLink, isRelayed: false }),
  };
}

async function planOf(url: string, { json, ...secrets }: PlanFlags, environment: Environment): Promise<void> {
  const cluster = await administratorOf({ url, ...secrets }, environment).describe();
  const { plan, replicas, measured, trouble } = cluster;
  print(
    json
      ? `${JSON.stringify({ plan, replicas, measured, trouble }, null, 2)}\n`
      : `${drawRunningPlan(cluster).map(printableLine).join('\n')}\n`,
  );
}
