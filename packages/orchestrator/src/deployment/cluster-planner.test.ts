import {} from '@butterfly/common';
import type { Member } from '@butterfly/control';
import { plainWishes, type Link } from '@butterfly/planning';
import { beforeAll, describe, expect, it } from 'vitest';
import { tinyModelSettings } from '../testing/tiny-model.js';
import { clusterPlanner } from './cluster-planner.js';
import type { ClusterPlanner } from './deployment-types.js';

const curve = [{ rows: 1, micros: 5_000 }];
const member = (workerId: string): Member => ({
  workerId,
  name: workerId,
  identity: workerId,
  memoryBytes: 2 ** 30,
  profile: {
    layerCurve: curve,
    outputCurve: curve,
    attentionMicros: { f16: 1, bf16: 1, q8_0: 1 },
    hasFiles: true,
    cachedBytes: 0,
    diskBytesPerSecond: 1e9,
  },
});
const members = [member('a'), member('b')];
const lan: Link = { latencyMicros: 200, bytesPerSecond: 110e6, isRelayed: false };
const direct = () => lan;
const nat = (from: string | null, to: string | null): Link =>
  from === null || to === null ? lan : { latencyMicros: 400, bytesPerSecond: 55e6, isRelayed: true };

let planner: ClusterPlanner;
beforeAll(async () => {
  const { spec } = await tinyModelSettings();
  const sizes = { arenaSlots: 1024, rowsMax: 64, concurrency: 4 };
  const wishes = { ...plainWishes, objective: 'latency', stagesMin: 2 } as const;
  planner = clusterPlanner({ spec, ...sizes, wishes, observe: () => undefined });
});

describe('a plan that is asked about anew', () => {
  it('keeps the links that were relayed when it was made, so that a straight one can be worth a change', () => {
    const plan = planner.plan(members, nat);
    const anew = planner.repair(plan, new Map(), members, direct);
    expect(anew?.predicted.latencyMicros).toBe(plan.predicted.latencyMicros);
    expect(planner.plan(members, direct).predicted.latencyMicros).toBeLessThan(plan.predicted.latencyMicros);
  });

  it('takes ways as they are now for whoever steps in', () => {
    const plan = planner.plan(members, nat);
    const last = plan.stages.at(-1)?.workerId ?? '';
    const repaired = planner.repair(plan, new Map([[last, 'c']]), [...members, member('c')], direct);
    expect(repaired?.stages.map(({ isRelayed }) => isRelayed)).toEqual([false, false]);
  });
});
