import { ButterflyError, deadlines } from '@butterfly/common';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Controller, type ControllerAction, type ControllerEvent, type Member } from './controller.js';
import { planPipeline, type Plan } from './planner.js';

const layers = 6;
const cooldownMs = 3000;
const config = { workersExpected: 2, gatherMs: 200, cooldownMs };

/** Needs the memory of about two workers. */
function plan(workers: readonly Member[]): Plan {
  return planPipeline({
    layerBytes: Array<number>(layers).fill(100),
    inputBytes: 50,
    outputBytes: 60,
    cacheType: 'f16',
    kvBytesPerSlotPerLayer: 1,
    arenaSlots: 10,
    overheadBytes: 20,
    workers,
  });
}

interface Epoch {
  readonly epoch: number;
  readonly stages: readonly string[];
  readonly ready: Set<string>;
  state: 'assigned' | 'canary' | 'live';
}

/** A cluster as the controller sees it, which checks every action against what has happened. */
class Cluster {
  nowMs = 0;
  alive: Epoch | null = null;
  lastEpoch = 0;
  readonly members = new Set<string>();
  readonly leftOutUntilMs = new Map<string, number>();
  readonly controller = new Controller({ ...config, plan });
  #nextId = 1;

  handle(event: ControllerEvent): void {
    for (const action of this.controller.handle(event, this.nowMs)) this.#carryOut(action);
    expect(this.controller.current?.epoch ?? null).toBe(this.alive?.epoch ?? null);
    expect(this.controller.phase).toBe(
      this.alive ? { assigned: 'loading', canary: 'canary', live: 'live' }[this.alive.state] : 'waiting',
    );
    expect(this.controller.describe()).not.toBe('');
  }

  join(memoryBytes: number): void {
    const workerId = `w${this.#nextId++}`;
    this.members.add(workerId);
    this.handle({
      kind: 'joined',
      member: {
        workerId,
        name: workerId,
        memoryBytes,
        weightBytesPerSecond: 1e6,
        attentionMicros: { f16: 1, bf16: 1, q8_0: 1 },
      },
    });
  }

  leave(workerId: string): void {
    if (this.members.delete(workerId)) this.handle({ kind: 'left', workerId });
  }

  fail(workerId: string, epoch: number): void {
    const isOfAlive = this.alive?.epoch === epoch && this.alive.stages.includes(workerId);
    if (isOfAlive) this.leftOutUntilMs.set(workerId, this.nowMs + cooldownMs);
    this.handle({
      kind: 'failed',
      workerId,
      epoch,
      error: new ButterflyError('COMPUTE_FAILED', 'The test.'),
    });
  }

  ready(workerId: string, epoch: number): void {
    if (this.alive?.epoch === epoch && this.alive.stages.includes(workerId)) this.alive.ready.add(workerId);
    this.handle({ kind: 'ready', workerId, epoch });
  }

  pass(ms: number): void {
    this.nowMs += ms;
    this.handle({ kind: 'tick' });
  }

  #carryOut(action: ControllerAction): void {
    if (action.kind === 'drop') {
      expect(this.alive?.stages).toContain(action.workerId);
      expect(this.alive?.ready).not.toContain(action.workerId);
      // As a socket does: later, and once.
      dropped.push(action.workerId);
      return;
    }
    const { epoch } = action.current;
    const stages = action.current.plan.stages.map(({ workerId }) => workerId);
    if (action.kind === 'assign') {
      expect(this.alive).toBeNull();
      expect(epoch).toBeGreaterThan(this.lastEpoch);
      for (const id of stages) {
        expect(this.members).toContain(id);
        expect(this.leftOutUntilMs.get(id) ?? 0).toBeLessThanOrEqual(this.nowMs);
      }
      this.lastEpoch = epoch;
      this.alive = { epoch, stages, ready: new Set(), state: 'assigned' };
      return;
    }
    expect(this.alive).toMatchObject({ epoch, stages });
    if (!this.alive) return;
    switch (action.kind) {
      case 'retire':
        this.alive = null;
        return;
      case 'canary':
        expect(this.alive.state).toBe('assigned');
        expect([...this.alive.ready].sort()).toEqual([...stages].sort());
        this.alive.state = 'canary';
        return;
      case 'live':
        expect(this.alive.state).toBe('canary');
        this.alive.state = 'live';
        return;
    }
  }
}

let dropped: string[] = [];

/** What happens next; `pick` chooses among those that it can happen to. */
const happening = fc.oneof(
  fc.record({ what: fc.constant('join' as const), memoryBytes: fc.integer({ min: 100, max: 1500 }) }),
  fc.record({ what: fc.constantFrom('leave', 'ready', 'fail', 'progress'), pick: fc.nat() }),
  fc.record({ what: fc.constantFrom('stale', 'stall', 'pass'), pick: fc.nat() }),
  fc.record({
    what: fc.constant('time' as const),
    ms: fc.constantFrom(50, 100, 300, cooldownMs, deadlines.loadStallMs, deadlines.stepMs + 1),
  }),
  // Otherwise no epoch would ever come far.
  fc.record({ what: fc.constant('proceed' as const) }),
);
type Happening = typeof happening extends fc.Arbitrary<infer T> ? T : never;

function happen(cluster: Cluster, event: Happening): void {
  const pickOf = (ids: Iterable<string>, pick: number): string => {
    const all = [...ids];
    return all[pick % Math.max(1, all.length)] ?? 'w0';
  };
  const epoch = cluster.alive?.epoch ?? 0;
  const anyone = (pick: number): string => pickOf(cluster.members, pick);
  switch (event.what) {
    case 'join':
      cluster.join(event.memoryBytes);
      return;
    case 'leave':
      cluster.leave(anyone(event.pick));
      return;
    case 'ready':
      cluster.ready(pickOf(cluster.alive?.stages ?? cluster.members, event.pick), epoch);
      return;
    case 'fail':
      cluster.fail(anyone(event.pick), epoch);
      return;
    case 'progress':
      cluster.handle({ kind: 'progress', workerId: anyone(event.pick), epoch });
      return;
    case 'stale':
      cluster.ready(anyone(event.pick), epoch - 1);
      cluster.fail(anyone(event.pick), epoch - 1);
      return;
    case 'stall':
      cluster.handle({ kind: 'stalled', epoch: epoch - (event.pick % 2) });
      return;
    case 'pass':
      cluster.handle({ kind: 'canaryPassed', epoch: epoch - (event.pick % 2) });
      return;
    case 'time':
      cluster.pass(event.ms);
      return;
    case 'proceed':
      proceed(cluster);
      return;
  }
}

/** Everybody does what is asked of them. */
function proceed(cluster: Cluster): void {
  for (const workerId of cluster.alive?.stages ?? []) cluster.ready(workerId, cluster.alive?.epoch ?? 0);
  if (cluster.alive?.state === 'canary') cluster.handle({ kind: 'canaryPassed', epoch: cluster.alive.epoch });
  for (const workerId of dropped.splice(0)) cluster.leave(workerId);
}

it('has one epoch at a time whatever happens, and ends up live or with a reason', () => {
  let reachedLive = 0;
  fc.assert(
    fc.property(fc.array(happening, { minLength: 1, maxLength: 60 }), (events) => {
      dropped = [];
      const cluster = new Cluster();
      for (const event of events) happen(cluster, event);
      // From here on nothing goes wrong: cooldowns end, and whoever is asked answers.
      for (let round = 0; round < 4; round++) {
        cluster.pass(cooldownMs);
        proceed(cluster);
      }
      if (cluster.controller.describe() === 'ready') {
        expect(cluster.alive?.state).toBe('live');
        reachedLive++;
        return;
      }
      expect(cluster.alive).toBeNull();
      const isExplained = /expected workers have joined(; .+)?$/.exec(cluster.controller.describe());
      expect(isExplained).not.toBeNull();
      // Nobody there, too few for a first plan, or too little memory, which it says.
      const isPlannedBefore = cluster.lastEpoch > 0;
      if (cluster.members.size >= config.workersExpected || (isPlannedBefore && cluster.members.size > 0))
        expect(cluster.controller.describe()).toMatch(/The model needs .* offer/);
    }),
    { numRuns: 600, seed: 20_250_101 },
  );
  // The simulation is about something.
  expect(reachedLive).toBeGreaterThan(150);
});
