import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { StepCurve } from '@butterfly/common';
import { type PlannedStep, Scheduler } from '@butterfly/engine';
import { randomBits } from '@butterfly/testkit';
import { greedySampling } from '@butterfly/wire';
import { chatLengths, trafficOf, type LoadRequest } from './load/traffic.js';
import { drawOccupancy, type OccupancyPanel, type StageWork } from './occupancy-picture.js';
import { printTable, writeResult } from './report.js';

const stageCounts = [1, 2, 4, 8, 16];
const requestsPerStage = 8;
/** Output tokens and prompts are drawn from so many, so that nothing repeats and no guess is made. */
const vocabulary = 32_000;
/** Between stages, and back to the orchestrator: what a network of one site takes. */
const hopMicros = 500;
/** How far the time of a step strays from its curve, at most. */
const jitter = 0.05;
/** Of so many requests per stage the first part is the start, which does not count. */
const endsPerStage = { start: 16, all: 64 } as const;
const pictureMicros = 3_000_000;

/**
 * Microseconds of a step over its rows for the whole model, which the stages share evenly: the 1B shape as measured on
 * two cores with AMX (design, section 4), times eight for an 8B shape. It has cliffs: 24 rows take longer than 32.
 */
const modelCurve = [
  [1, 31],
  [2, 53],
  [4, 65],
  [8, 61],
  [16, 92],
  [24, 171],
  [32, 145],
  [48, 277],
  [64, 283],
  [512, 2264],
].map(([rows = 0, millis = 0]) => ({ rows, micros: 8 * 1000 * millis }));

interface OccupancyFigures {
  readonly stages: number;
  readonly requests: number;
  readonly steps: number;
  /** Share of the time that stages compute, on average and of the idlest. */
  readonly occupancy: number;
  readonly idlest: number;
  readonly rowsPerStep: number;
  readonly outputTokensPerSecond: number;
}

/** Stages in a row, each with a queue, under a clock of their own; each request that ends is followed by the next. */
class SimulatedPipeline {
  readonly work: StageWork[][];
  readonly endsMicros: number[] = [];
  readonly stepsMicros: { readonly micros: number; readonly rows: number; readonly outputs: number }[] = [];
  readonly #scheduler: Scheduler;
  readonly #curve: StepCurve;
  readonly #inFlight: { readonly step: PlannedStep; readonly doneMicros: number }[] = [];
  readonly #freeMicros: number[];
  readonly #bits;
  #nowMicros = 0;
  #submitted = 0;

  constructor(
    stages: number,
    private readonly requests: readonly LoadRequest[],
  ) {
    const points = modelCurve.map(({ rows, micros }) => ({ rows, micros: micros / stages }));
    this.#curve = new StepCurve(points);
    this.#scheduler = new Scheduler({
      contextTokensMax: 2048,
      arenaSlots: 1024 * 512,
      stages,
      runningMax: 256,
      stepCurves: Array.from({ length: stages }, () => points),
    });
    this.#bits = randomBits(`occupancy of ${stages}`);
    this.work = Array.from({ length: stages }, () => []);
    this.#freeMicros = new Array<number>(stages).fill(0);
  }

  run(concurrent: number, ends: number): void {
    for (let client = 0; client < concurrent; client += 1) this.#submit();
    while (this.endsMicros.length < ends) {
      for (;;) {
        const step = this.#scheduler.nextStep(this.#nowMicros / 1000);
        if (step === null) break;
        this.#inFlight.push({ step, doneMicros: this.#pass(step) });
      }
      this.#complete();
    }
  }

  /** Sends a step through all stages, each of which takes it as soon as it is free; returns when its result is back. */
  #pass(step: PlannedStep): number {
    const isPrompt = step.sequences.some(({ rows }) => rows > 1);
    let micros = this.#nowMicros;
    for (const [stage, work] of this.work.entries()) {
      const startMicros = Math.max(micros + hopMicros, this.#freeMicros[stage] ?? 0);
      const stray = 1 + jitter * (2 * this.#uniform() - 1);
      micros = startMicros + this.#curve.micros(step.tokens.length) * stray;
      this.#freeMicros[stage] = micros;
      work.push({ startMicros, endMicros: micros, isPrompt });
    }
    return micros + hopMicros;
  }

  #complete(): void {
    const oldest = this.#inFlight.shift();
    if (oldest === undefined) throw new Error('nothing is in flight, and yet requests have not ended');
    const { step, doneMicros } = oldest;
    this.#nowMicros = Math.max(this.#nowMicros, doneMicros);
    const outputs = step.sequences
      .filter(({ sampling }) => sampling !== null)
      .map(({ sequenceId }) => ({
        sequenceId,
        tokens: Int32Array.of(Math.floor(this.#uniform() * vocabulary)),
      }));
    this.stepsMicros.push({ micros: this.#nowMicros, rows: step.tokens.length, outputs: outputs.length });
    for (const { kind } of this.#scheduler.complete({ stepId: step.stepId, outputs }, this.#nowMicros / 1000))
      if (kind === 'end') {
        this.endsMicros.push(this.#nowMicros);
        this.#submit();
      }
  }

  #submit(): void {
    const { prompt, outputTokens } = this.requests[this.#submitted % this.requests.length] ?? {
      prompt: [],
      outputTokens: 1,
    };
    this.#scheduler.submit({
      id: this.#submitted,
      promptTokens: Int32Array.from(typeof prompt === 'string' ? [] : prompt),
      outputTokensMax: outputTokens,
      logprobs: null,
      promptLogprobs: null,
      sampling: greedySampling,
      stopTokens: new Set(),
      priority: 0,
      nowMs: this.#nowMicros / 1000,
      deadlineMs: Infinity,
    });
    this.#submitted += 1;
  }

  #uniform(): number {
    return (this.#bits() >>> 0) / 2 ** 32;
  }
}

/** How busy the stages of pipelines are, by the real scheduler under a simulated clock; draws docs/pictures. */
export function benchOccupancy(): Promise<void> {
  const loaded = stageCounts.map((stages) => simulate(stages, requestsPerStage * stages));
  const alone = stageCounts.map((stages) => simulate(stages, 1));
  const results = [...loaded, ...alone].map(({ figures }) => figures);
  printTable(
    'Stage occupancy, simulated: share of the time that stages compute',
    ['stages', 'requests', 'occupancy', 'idlest stage', 'rows per step', 'output tokens/s'],
    results.map(({ stages, requests, occupancy, idlest, rowsPerStep, outputTokensPerSecond }) => [
      String(stages),
      String(requests),
      ...[occupancy, idlest].map((share) => `${(100 * share).toFixed(1)}%`),
      rowsPerStep,
      outputTokensPerSecond,
    ]),
  );
  writeResult('occupancy', { date: new Date().toISOString(), hopMicros, jitter, modelCurve, results });
  const lone = alone.filter(({ figures }) => figures.stages === 8);
  writePicture(
    drawOccupancy(
      [...loaded, ...lone].map(({ panel }) => panel),
      pictureMicros,
    ),
  );
  return Promise.resolve();
}

function simulate(stages: number, requests: number): { figures: OccupancyFigures; panel: OccupancyPanel } {
  const perStage = requests === 1 ? 1 : stages;
  const traffic = trafficOf({
    key: 'occupancy',
    requests: endsPerStage.all * perStage,
    ...chatLengths,
    tokens: [0, vocabulary],
  });
  const pipeline = new SimulatedPipeline(stages, traffic);
  pipeline.run(requests, endsPerStage.all * perStage);
  const fromMicros = pipeline.endsMicros[endsPerStage.start * perStage] ?? 0;
  const toMicros = pipeline.endsMicros.at(-1) ?? 0;
  const shares = pipeline.work.map((work) => busyShare(work, fromMicros, toMicros));
  const steps = pipeline.stepsMicros.filter(({ micros }) => micros >= fromMicros && micros < toMicros);
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const occupancy = sum(shares) / stages;
  return {
    figures: {
      stages,
      requests,
      steps: steps.length,
      occupancy,
      idlest: Math.min(...shares),
      rowsPerStep: sum(steps.map(({ rows }) => rows)) / steps.length,
      outputTokensPerSecond: (1e6 * sum(steps.map(({ outputs }) => outputs))) / (toMicros - fromMicros),
    },
    panel: {
      title: `${stages === 1 ? '1 stage' : `${stages} stages`}, ${requests === 1 ? '1 request' : `${requests} requests`}`,
      occupancy,
      stages: pipeline.work.map((work) => clipped(work, fromMicros, fromMicros + pictureMicros)),
    },
  };
}

function busyShare(work: readonly StageWork[], fromMicros: number, toMicros: number): number {
  const busy = clipped(work, fromMicros, toMicros).reduce(
    (sum, each) => sum + each.endMicros - each.startMicros,
    0,
  );
  return busy / (toMicros - fromMicros);
}

/** What of the work lies in the window, in time from its start. */
function clipped(work: readonly StageWork[], fromMicros: number, toMicros: number): StageWork[] {
  return work
    .filter(({ startMicros, endMicros }) => endMicros > fromMicros && startMicros < toMicros)
    .map(({ startMicros, endMicros, isPrompt }) => ({
      startMicros: Math.max(startMicros, fromMicros) - fromMicros,
      endMicros: Math.min(endMicros, toMicros) - fromMicros,
      isPrompt,
    }));
}

function writePicture(svg: string): void {
  const folder = fileURLToPath(new URL('../../docs/pictures/', import.meta.url));
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}stage-occupancy.svg`, svg);
  process.stdout.write('Written to docs/pictures/stage-occupancy.svg\n');
}
