import type { ButterflyError } from '@butterfly/common';
import type { WorkerState } from './worker-states.js';
import type { Phase, Target } from './controller-types.js';
import type { Members } from './members.js';
import { missingStages, uses } from './target.js';

/** What a cluster waits for, in words for a person. */
export function describeWait(
  kind: Phase['kind'],
  known: {
    readonly target: Target | null;
    readonly members: Members;
    readonly workersExpected: number;
    readonly trouble: ButterflyError | null;
  },
): string {
  const { target, members, workersExpected, trouble } = known;
  switch (kind) {
    case 'live':
      return 'ready';
    case 'canary':
      return 'sending a first token through all stages';
    case 'starting':
      return 'linking the stages';
    case 'preparing': {
      const stages = target?.plan.stages.length ?? 0;
      const missing = target ? missingStages(target, members).length : 0;
      return `loading: ${stages - missing} of ${stages} stages are ready`;
    }
    case 'waiting': {
      const joined = `${members.size} of ${workersExpected} expected workers have joined`;
      return trouble ? `${joined}; ${trouble.message}` : joined;
    }
  }
}

/** What a worker does, in a word. */
export function describeMember(
  workerId: string,
  known: {
    readonly phase: Phase['kind'];
    readonly target: Target | null;
    readonly next: Target | null;
    readonly members: Members;
    readonly nowMs: number;
  },
): Exclude<WorkerState, 'measuring'> {
  const { phase, target, next, members, nowMs } = known;
  if (members.isDraining(workerId)) return 'draining';
  if (target && uses(target, workerId)) return phase === 'preparing' ? 'loading' : 'serving';
  if (next && uses(next, workerId)) return 'loading';
  if (!members.available(nowMs).some((member) => member.workerId === workerId)) return 'leftOut';
  return members.shardsOf(workerId).length > 0 ? 'spare' : 'idle';
}

/** Those that have workers; of a cluster without any, the first, which all begin in. */
export function replicasInUse<T extends { readonly workers: number }>(replicas: readonly T[]): readonly T[] {
  const inUse = replicas.filter(({ workers }) => workers > 0);
  return inUse.length > 0 ? inUse : replicas.slice(0, 1);
}

/** What several replicas wait for. */
export function describeReplicas(
  replicas: readonly {
    readonly number: number;
    readonly isLive: boolean;
    readonly workers: number;
    describe(): string;
  }[],
): string {
  const inUse = replicasInUse(replicas);
  const waiting = inUse.filter(({ isLive }) => !isLive);
  if (inUse.length === 1 || waiting.length === 0) return inUse[0]?.describe() ?? '';
  const words = waiting.map((replica) => `replica ${replica.number}: ${replica.describe()}`);
  return `${inUse.length - waiting.length} of ${inUse.length} replicas are ready; ${words.join('; ')}`;
}
