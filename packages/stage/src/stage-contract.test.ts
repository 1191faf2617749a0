import { cachedSyntheticModel } from '@butterfly/testkit';
import { StageRuntime } from './runtime.js';
import { describeStage } from './testing/stage-contract.js';
import { describeFile, ggml, openSource, smallModel } from './testing/stages.js';

describeStage('ggml', async () => {
  const spec = await describeFile(await cachedSyntheticModel(smallModel));
  return {
    spec,
    openSource: () => openSource(spec),
    create: (request) => new StageRuntime({ ...request, ggml, threads: 2 }),
  };
});
