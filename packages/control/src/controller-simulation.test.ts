import { deadlines } from '@butterfly/common';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { anyHappening, type Happening } from './testing/controller-happenings.js';
import { SimulatedCluster } from './testing/controller-simulation.js';

/** Longer than any worker is left out. */
const calmRounds = 14;
const calmRoundMs = 30_000;

/** From here on nothing goes wrong: pauses end, and whoever is asked answers. */
function calmDown(cluster: SimulatedCluster): void {
  cluster.proceed();
  for (let round = 0; round < calmRounds; round += 1) {
    cluster.pass(calmRoundMs, true);
    cluster.proceed();
  }
}

/** Live, with nothing left over of all plans before, or waiting for what it tells. */
function checkOutcome(cluster: SimulatedCluster): void {
  const { controller, alive, members } = cluster;
  if (controller.describe() === 'ready') {
    expect(alive?.state).toBe('live');
    const spareIds = new Set(alive?.current.shardIds);
    let spares = 0;
    for (const [workerId, { holdings }] of members) {
      const index = alive?.current.plan.stages.findIndex((stage) => stage.workerId === workerId) ?? -1;
      const held = [...holdings.keys()];
      if (index !== -1) expect(held).toEqual([alive?.current.shardIds[index]]);
      else {
        expect(held.every((shardId) => spareIds.has(shardId))).toBe(true);
        spares += held.length;
      }
    }
    expect(spares).toBeLessThanOrEqual(cluster.spares);
    return;
  }
  expect(alive).toBeNull();
  expect(controller.describe()).toMatch(/expected workers have joined(; .+)?$/u);
  // Nobody there, too few for a first plan, or too little memory, which it says.
  const isEnough = members.size >= cluster.workersExpected || (cluster.lastEpoch > 0 && members.size > 0);
  if (isEnough) expect(controller.describe()).toMatch(/The model needs .* offer/u);
}

it('has one epoch at a time whatever happens, and ends up live or with a reason', () => {
  let reachedLive = 0;
  fc.assert(
    fc.property(
      fc.nat(2),
      fc.array(anyHappening, { minLength: 1, maxLength: 60, size: 'max' }),
      (spares, happenings) => {
        const cluster = new SimulatedCluster(spares);
        for (const happening of happenings) cluster.happen(happening);
        calmDown(cluster);
        checkOutcome(cluster);
        if (cluster.alive) reachedLive += 1;
      },
    ),
    { numRuns: 300 },
  );
  // The simulation is about something.
  expect(reachedLive).toBeGreaterThan(150);
});

it('gets through the worst that there is: each worker hangs, dies or lies in turn', () => {
  const cluster = new SimulatedCluster(1);
  const troubles: readonly Happening[] = [
    { what: 'time', ms: deadlines.loadStallMs + 1, isIdle: false },
    { what: 'leave', pick: 0, isOrderly: false },
    { what: 'fail', pick: 1, isLink: false },
    { what: 'unprepared', pick: 0 },
    { what: 'stall', pick: 0 },
    { what: 'drain', pick: 2 },
  ];
  for (let round = 0; round < 60; round += 1) {
    const trouble = troubles[round % troubles.length];
    cluster.happen({ what: 'join', memoryBytes: 900, micros: 100 });
    cluster.proceed();
    if (trouble) cluster.happen(trouble);
    cluster.proceed();
    cluster.pass(100, true);
  }
  calmDown(cluster);
  checkOutcome(cluster);
  expect(cluster.alive?.state).toBe('live');
  expect(cluster.lastEpoch).toBeGreaterThan(15);
});
