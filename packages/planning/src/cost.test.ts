import { describe, expect, it } from 'vitest';
import { hostMicros, predict, promptRows, relayMicros, turnsOf } from './cost.js';
import { stageBytes } from './stage-memory.js';
import { gib, lan, plain, plainModel, worker } from './testing/problems.js';

const halves = [
  { workerId: 'a', layerStart: 0, layerEnd: 8 },
  { workerId: 'b', layerStart: 8, layerEnd: 16 },
];
const inMicros = (bytes: number): number => (bytes * 1e6) / lan.bytesPerSecond;

describe('turnsOf', () => {
  it('has each number of rows once, with the fewest steps, up to two steps for a stage', () => {
    expect(turnsOf(16, 3).map(({ steps, rows }) => [steps, rows])).toEqual([
      [1, 16],
      [2, 8],
      [3, 6],
      [4, 4],
      [6, 3],
    ]);
    expect(turnsOf(1, 8)).toEqual([{ steps: 1, rows: 1, sequences: 1 }]);
  });
});

describe('predict', () => {
  it('sums stages and links at one row for the latency', () => {
    const { predicted, stages } = predict(halves, plain());
    const own = [8 * 1000 + hostMicros, 8 * 1000 + 2000 + hostMicros];
    expect(stages.map(({ decodeMicros }) => decodeMicros)).toEqual(own);
    expect(predicted.latencyMicros).toBeCloseTo(8300 + 10_300 + 3 * lan.latencyMicros + inMicros(8192), 6);
  });

  it('takes each layer for as long as its kind', () => {
    const model = { ...plainModel, layerKinds: plainModel.layerBytes.map((_, layer) => (layer < 3 ? 1 : 0)) };
    const workers = ['a', 'b'].map((id) => {
      const { curvesByKind, ...others } = worker(id, 1000);
      return { ...others, curvesByKind: [...curvesByKind, ...worker(id, 250).curvesByKind] };
    });
    const { stages } = predict(halves, plain({ model, workers }));
    const own = [3 * 250 + 5 * 1000 + hostMicros, 8 * 1000 + 2000 + hostMicros];
    expect(stages.map(({ decodeMicros }) => decodeMicros)).toEqual(own);
  });

  it('takes the slowest stage for the throughput, with a token of a prompt for each of an answer', () => {
    const { predicted, stages } = predict(halves, plain());
    // Two steps of 8 rows for 16 tokens, and 64 rows of a prompt take eight times as long.
    const prompt = (8 * 8000 + hostMicros) / promptRows;
    const pace = (2 * (8 * 1000 + 2000 + hostMicros)) / 16 + prompt;
    expect(stages[1]?.microsPerToken).toBeCloseTo(pace, 6);
    expect(predicted.tokensPerSecond).toBeCloseTo(1e6 / pace, 6);
  });

  it('gives a single sequence no more than a token in each lap', () => {
    const { predicted } = predict(halves, plain({ concurrency: 1 }));
    expect(1e6 / predicted.tokensPerSecond).toBeGreaterThan(predicted.latencyMicros);
  });

  it('lets a slow link set the pace', () => {
    const slow = { ...lan, bytesPerSecond: 1e5 };
    const { predicted } = predict(halves, plain({ link: (from, to) => (from && to ? slow : lan) }));
    expect(1e6 / predicted.tokensPerSecond).toBeCloseTo((2 * 8192 * 1e6) / 1e5, 3);
  });

  it('adds the work of the orchestrator to a relayed link', () => {
    const direct = predict(halves, plain());
    const relayed = predict(
      halves,
      plain({ link: (from, to) => ({ ...lan, isRelayed: from !== null && to !== null }) }),
    );
    expect(relayed.predicted.latencyMicros - direct.predicted.latencyMicros).toBeCloseTo(relayMicros, 6);
    expect(relayed.stages.map(({ isRelayed }) => isRelayed)).toEqual([true, true]);
  });

  it('refuses a worker that is not there', () => {
    expect(() => predict(halves, plain({ workers: [worker('a', 1)] }))).toThrow(/Worker b/u);
  });
});

describe('stageBytes', () => {
  it('has the embedding on the first stage and the head on the last', () => {
    const layer = gib + 2 ** 26;
    expect(stageBytes(plainModel, 0, 2)).toBe(2 * layer + gib / 4 + gib);
    expect(stageBytes(plainModel, 2, 3)).toBe(layer + gib / 4);
    expect(stageBytes(plainModel, 15, 16)).toBe(layer + gib / 4 + 2 * gib);
  });
});
