import { systemClock } from '@butterfly/common';
import { describeStage } from '@butterfly/stage/testing';
import { FakeMachine } from './fake-machine.js';
import { fakeSpec } from './fake-model.js';

describeStage('the simulation', () => {
  const traits = {
    memoryBytes: 2 ** 40,
    layerMicros: 100,
    diskBytesPerSecond: 1e12,
    profilingMs: 1,
    isBatchInvariant: true,
  };
  const { stages } = new FakeMachine(traits, systemClock, () => undefined);
  return Promise.resolve({
    spec: fakeSpec(3),
    create: (request) => stages.create(request),
    openSource: () =>
      Promise.resolve({
        read: () => Promise.reject(new Error('The weights of the simulation are nowhere.')),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }),
  });
});
