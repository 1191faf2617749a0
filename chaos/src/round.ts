import { ChaosCluster } from './cluster.js';
import { commit } from './faults.js';
import type { Fault } from './schedule.js';
import { Clients, longestGapMs, stream, type Outcome } from './streams.js';

export interface RoundOptions {
  readonly model: string;
  readonly workers: number;
  readonly streams: number;
  readonly tokens: number;
  /** Faults are committed one after the other until there are no more of them, or it is time. */
  readonly faults: Iterable<Fault>;
  readonly endMs: number;
  /** As of a cluster. */
  readonly cacheDisk: string | null;
  readonly replicas?: number;
  /** Told of each fault as it begins. */
  readonly onFault?: (fault: Fault, elapsedMs: number) => void;
}

export interface CommittedFault extends Fault {
  readonly atMs: number;
  /** Whether it came to what its name says. */
  readonly isAsNamed: boolean;
}

export interface RoundReport {
  readonly faults: readonly CommittedFault[];
  readonly streams: number;
  readonly tokens: number;
  readonly plans: number;
  /** The longest wait for a next piece in any stream. */
  readonly longestStallMs: number;
  /** Streams that ended otherwise than without any fault. */
  readonly broken: readonly Outcome[];
  /** What the orchestrator said last, when something broke. */
  readonly log: readonly string[];
}

const prompts = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `Once upon a time there were ${index + 2} little`);

/** Real processes under faults, with clients that compare every stream with that of a cluster without any. */
export async function chaosRound(options: RoundOptions): Promise<RoundReport> {
  const { model, workers, streams, tokens, cacheDisk, replicas = 1 } = options;
  await using cluster = await ChaosCluster.start({
    model,
    workers,
    streams,
    contextTokens: 512,
    isDeterministic: true,
    cacheDisk,
    replicas,
  });
  const streamOptions = { tokens, timeoutMs: 5 * 60_000 };
  const undisturbed = new Map<string, Outcome>();
  for (const outcome of await Promise.all(
    prompts(streams).map((prompt) => stream(cluster.url, prompt, streamOptions)),
  ))
    undisturbed.set(outcome.prompt, outcome);
  const clients = new Clients(cluster.url, [...undisturbed.keys()], streamOptions);
  const startMs = performance.now();
  const committed: CommittedFault[] = [];
  for (const fault of options.faults) {
    await new Promise((resolve) => setTimeout(resolve, fault.afterMs));
    const atMs = performance.now();
    if (atMs > options.endMs) break;
    options.onFault?.(fault, atMs - startMs);
    const isAsNamed = await commit(fault, cluster);
    committed.push({ ...fault, atMs: atMs - startMs, isAsNamed });
  }
  const outcomes = await clients.stop();
  const broken = outcomes.filter((outcome) => !isSame(outcome, undisturbed.get(outcome.prompt)));
  return {
    faults: committed,
    streams: outcomes.length,
    tokens: outcomes.reduce((sum, { piecesMs }) => sum + piecesMs.length - 1, 0),
    plans: cluster.plans,
    longestStallMs: Math.max(0, ...outcomes.map(longestGapMs)),
    broken,
    log: broken.length > 0 ? cluster.orchestrator.lines.slice(-100) : [],
  };
}

function isSame(outcome: Outcome, expected: Outcome | undefined): boolean {
  return (
    outcome.error === null &&
    expected?.error === null &&
    outcome.reason === expected.reason &&
    outcome.text === expected.text
  );
}
