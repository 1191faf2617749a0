import { HeaderModel, dtype } from '@butterfly/ggml';
import { type BatchShape, plainLayout } from '@butterfly/model';
import { describe, expect, it } from 'vitest';
import { describeImported, headerOf, surveyRequest } from './describe.js';
import { StageGraphs } from './stage-graph.js';
import { surveyModel } from './survey-model.js';
import { ggml, openFixture, useFixtures } from './testing/fixtures.js';
import { TrialMemory } from './trial-memory.js';

useFixtures();
const rows = 3;
const span = { rows, ...plainLayout(rows, rows), cached: { start: 0, slots: 256, first: 0 }, room: null };
const batch: BatchShape = { rows, paddedRows: rows, spans: [span], logitRows: 1, paddedLogitRows: 1 };

describe('a first stage whose rows are looked up elsewhere', () => {
  // The embedding of gemma3 is multiplied by a number behind the lookup; layers of gemma4 read token ids too.
  it.each([
    ['qwen3moe', false],
    ['gemma3', false],
    ['gemma4', true],
    ['qwen35', false],
  ])(
    'of %s takes rows of the embedding, and token ids only where layers read them',
    async (name, readsTokens) => {
      const gguf = await openFixture(name);
      const survey = surveyModel(ggml, surveyRequest(gguf));
      const spec = describeImported(gguf, survey);
      using model = new HeaderModel(ggml, {
        header: headerOf(spec),
        contextTokens: 512,
        rowsMax: 16,
        sequencesMax: survey.states.some(({ length }) => length > 0) ? 2 : 1,
        cacheType: dtype.F16,
      });
      const layerEnd = survey.crossings.findIndex((width) => width !== null) + 1;
      const names = new Set(gguf.tensors.map((tensor) => tensor.name));
      const options = { ggml, model, range: { layerStart: 0, layerEnd }, attention: survey.attention, names };
      const graphs = new StageGraphs({ ...options, isLookedUp: true });
      expect(graphs.weights.some((weight) => weight.name === 'token_embd.weight')).toBe(false);
      expect(new StageGraphs(options).weights.some((weight) => weight.name === 'token_embd.weight')).toBe(
        true,
      );
      using memory = new TrialMemory(ggml, survey);
      const { caches, states } = memory;
      const { graph, inputs } = graphs.build(
        batch,
        memory.weights(graphs.weights),
        caches.slice(0, layerEnd),
        states.slice(0, layerEnd),
      );
      expect(inputs.source).toMatchObject({ type: dtype.F32, shape: [128, rows, 1, 1] });
      expect(inputs.tokens !== null).toBe(readsTokens);
      graph[Symbol.dispose]();
    },
  );
});
