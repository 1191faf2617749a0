import { type EpochPlan, targetOf } from '@butterfly/control';
import { planOf, shardIdOf } from '@butterfly/control/testing';
import {
  type Frame,
  decodeActivations,
  decodeStep,
  encodeActivations,
  encodeControl,
  encodeStep,
} from '@butterfly/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { canaryStep } from './assignments.js';
import { ConnectedWorkers } from '../testing/cluster.js';
import { tinyModelSettings } from '../testing/tiny-model.js';
import { relay } from './relay.js';

const epoch = 7;
const planned = (relayed: string): EpochPlan => ({
  ...targetOf(planOf(['a', 'b', 'c'], { relayed }), shardIdOf),
  epoch,
});
const activations = {
  epoch,
  stepId: 5,
  stageTimes: [{ computeMicros: 10, hostMicros: 2 }],
  tokens: new Uint8Array(Int32Array.of(7).buffer),
  payload: new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer),
};

let cluster: ConnectedWorkers;
beforeEach(async () => {
  cluster = await ConnectedWorkers.open('a', 'b', 'c');
});
afterEach(() => cluster.close());

/** The frame as it arrives from a worker: over a connection of its own. */
async function arrived(parts: readonly Uint8Array[]): Promise<Frame> {
  const sender = await ConnectedWorkers.open('sender');
  sender.workers.get('sender')?.connection.send(parts);
  const frame = await sender.party('sender').frame();
  await sender.close();
  return frame;
}

/** What the worker gets before a mark that is sent to it last. */
async function framesOf(workerId: string): Promise<Frame[]> {
  cluster.workers.get(workerId)?.connection.send(encodeControl({ kind: 'unassign', epoch: 99 }));
  const frames: Frame[] = [];
  for (;;) {
    const frame = await cluster.party(workerId).frame();
    if (frame.type === 'control') return frames;
    frames.push(frame);
  }
}

describe('relay', () => {
  it('passes steps and activations on as they are, in their order, to the next stage alone', async () => {
    const { spec, arenaSlots } = await tinyModelSettings();
    const step = canaryStep(epoch, { arenaSlots, spec });
    const sent = [await arrived(encodeStep(step)), await arrived(encodeActivations(activations))];
    for (const frame of sent) relay(frame, 'a', planned('b'), cluster.workers);
    const [first, second, ...others] = await framesOf('b');
    expect(others).toEqual([]);
    expect(first?.type).toBe('step');
    expect(first && decodeStep(first).sequences).toEqual(step.sequences);
    const got = second && decodeActivations(second);
    expect(got).toMatchObject({ epoch, stepId: 5, stageTimes: activations.stageTimes });
    expect(got && Buffer.compare(got.payload, activations.payload)).toBe(0);
    expect(got && Buffer.compare(got.tokens, activations.tokens)).toBe(0);
    expect([await framesOf('a'), await framesOf('c')]).toEqual([[], []]);
  });

  it.each([
    ['no plan', 'a', null],
    ['a worker without a stage', 'd', planned('b')],
    ['the last stage', 'c', planned('c')],
  ] as const)('drops what comes from %s', async (_, from, current) => {
    relay(await arrived(encodeActivations(activations)), from, current, cluster.workers);
    for (const id of ['a', 'b', 'c']) expect(await framesOf(id)).toEqual([]);
  });

  it('drops what is for a worker that has just left', async () => {
    cluster.workers.delete('b');
    relay(await arrived(encodeActivations(activations)), 'a', planned('b'), cluster.workers);
    for (const id of ['a', 'c']) expect(await framesOf(id)).toEqual([]);
  });

  it('refuses what has a straight way', async () => {
    const frame = await arrived(encodeActivations(activations));
    expect(() => relay(frame, 'b', planned('b'), cluster.workers)).toThrow(
      expect.objectContaining({ code: 'PROTOCOL_INVALID' }),
    );
    expect(await framesOf('c')).toEqual([]);
  });
});
