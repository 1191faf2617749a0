import type { ButterflyError } from '@butterfly/common';
import type { Target } from './controller-types.js';
import type { Members } from './members.js';
import { missingStages } from './targets.js';

/** What a cluster waits for, in words for a person. */
export function describeWait(
  kind: 'waiting' | 'preparing' | 'starting' | 'canary' | 'live',
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
