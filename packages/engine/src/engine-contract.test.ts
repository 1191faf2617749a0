import { describeEngine } from './testing/engine-contract.js';
import { layerCount } from './testing/fake-pipeline.js';
import { build } from './testing/fake-replica.js';

describeEngine('replicas of a pipeline', () => {
  const { clock, replicas, engine } = build(2);
  for (const replica of replicas) replica.up(2);
  return {
    engine,
    work: () => {
      clock.jump(1);
      for (const replica of replicas) for (let stage = 0; stage < layerCount; stage++) replica.advance(stage);
    },
  };
});
