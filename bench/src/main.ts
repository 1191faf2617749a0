import { ButterflyError } from '@butterfly/common';
import { benchConstraints } from './constraints/constraints.js';
import { benchDepth } from './depth.js';
import { benchDraft } from './draft.js';
import { benchFailover } from './failover.js';
import { benchImported } from './imported.js';
import { benchJournal } from './journal.js';
import { benchLookup } from './lookup.js';
import { benchOccupancy } from './occupancy.js';
import { parseOptions, type BenchOptions } from './options.js';
import { benchPlanning } from './planning.js';
import { benchPrediction } from './prediction.js';
import { benchPrefix } from './prefix.js';
import { benchProfile } from './profile.js';
import { benchResume } from './resume.js';
import { benchScheduler } from './scheduler.js';
import { benchServe } from './serve.js';
import { benchSecurity } from './security.js';
import { benchServers } from './servers/servers.js';
import { benchSingle } from './single.js';
import { benchSoak } from './soak.js';
import { benchSplit } from './split.js';
import { benchTraces } from './traces.js';
import { benchWeights } from './weights.js';

const usage = `Usage: npm run bench -- NAME [options]

  single     one stream: prefill and decode beside llama.cpp, cost of each further stage, memory of workers
  serve      many clients over HTTP beside llama.cpp's continuous batching; with --profile, where a step spends its time
  servers    over HTTP beside llama.cpp's own server and its RPC mode, which --llama-bin has
  split      two workers with half the threads each beside one with all of them, over HTTP
  prefix     time to the first token of a prompt whose beginning is cached
  lookup     speculative decoding by prompt lookup, on against off
  draft      guesses of a small model for one of two and three stages that are 5 ms apart, on against off
  constraints  decode of eight streams with a schema of twenty fields against the same without
  depth      decode behind a long prompt with each type of KV cache beside llama.cpp
  models     models whose graphs are llama.cpp's beside llama.cpp and beside own graphs, and headers of very large models
  security   eight streams and one, over links with TLS against links without
  traces     eight streams with a trace of each request against none
  soak       memory over 10,000 requests
  scheduler  the scheduler alone: what a step of it costs
  journal    the journal of requests: what keeping a token costs, and how late it is kept
  resume     what keeping requests costs, and how long a stream stands still when the orchestrator is killed
  failover   how long a stream stands still when a worker dies, and how soon a new one serves
  weights    bytes that move when workers load, and loading from disk beside the disk alone
  planning   how long the planner takes for 5 to 1,000 workers
  prediction what the planner predicts for several clusters, beside what comes of it
  occupancy  how busy the stages of pipelines are, simulated; draws docs/pictures/stage-occupancy.svg

Options:
  --repeats N      rounds that medians are taken over (default: 3; single: 5)
  --model PATH     a GGUF file instead of the synthetic models (not: single, models)
  --clients LIST   numbers of clients for serve (default: 1,2,4,8,16)
  --requests N     requests of one load of serve, or of soak
  --rate N         Poisson arrivals per second for serve (default: 0.7 of what both sides can do)
  --threads N      threads of one process (default: 2)
  --llama-bin DIR  llama-server and ggml-rpc-server, of the release that is called here: servers needs them, and single,
                   serve and split measure them too
  --profile        see serve
  --quick          tiny models for models, to try it; writes no file
`;

const benches: Readonly<Record<string, (options: BenchOptions) => Promise<void>>> = {
  single: benchSingle,
  serve: (options) => (options.profile ? benchProfile(options) : benchServe(options)),
  servers: benchServers,
  split: benchSplit,
  prefix: benchPrefix,
  lookup: benchLookup,
  depth: benchDepth,
  draft: benchDraft,
  constraints: benchConstraints,
  models: benchImported,
  security: benchSecurity,
  traces: benchTraces,
  soak: benchSoak,
  scheduler: benchScheduler,
  journal: benchJournal,
  resume: benchResume,
  failover: benchFailover,
  weights: benchWeights,
  planning: benchPlanning,
  prediction: benchPrediction,
  occupancy: benchOccupancy,
};

// Leaving by `exit` takes along the processes that a benchmark started.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
await main();

async function main(): Promise<void> {
  let chosen: { readonly name: string; readonly options: BenchOptions };
  try {
    chosen = parseOptions(process.argv.slice(2));
  } catch (thrown) {
    fail(thrown instanceof Error ? `${thrown.message}\n\n` : '');
    return;
  }
  const bench = Object.hasOwn(benches, chosen.name) ? benches[chosen.name] : undefined;
  if (!bench) {
    fail('');
    return;
  }
  try {
    await bench(chosen.options);
  } catch (thrown) {
    // What is wrong with an option takes no stack to understand.
    if (!(thrown instanceof ButterflyError) || thrown.param === undefined) throw thrown;
    process.stderr.write(`${thrown.code}: ${thrown.message}\n`);
    process.exitCode = thrown.kind.exitCode;
  }
}

function fail(reason: string): void {
  process.stderr.write(reason + usage);
  process.exitCode = 2;
}
