import { childProcessIds, peakResidentBytes, residentBytes } from '@butterfly/testkit';
import { stat } from 'node:fs/promises';
import { silentLogger } from '@butterfly/common';
import { type Ggml, HeaderModel, dtype, loadGgml } from '@butterfly/ggml';
import {
  StageGraphs,
  TrialMemory,
  describeImported,
  headerOf,
  surveyInChild,
  surveyRequest,
} from '@butterfly/llama-graph';
import {
  type BatchShape,
  type ModelSpec,
  layerBytes,
  openGguf,
  outputBytes,
  plainLayout,
} from '@butterfly/model';
import { type PlannerMember, planPipeline, plainWishes, plannerInput } from '@butterfly/planning';
import { median } from '../load/statistics.js';
import type { LargeResult } from './large-result.js';

const pollMs = 5;
const rowsMax = 512;
const regionSlots = 256;
const gibibyte = 2 ** 30;
const timesPerShape = 9;

/** Eight servers with as much memory as large ones have, and a network of ten gigabits. */
const servers = 8;
const serverBytes = 192 * gibibyte;
const weightBytesPerSecond = 200e9;
const networkBytesPerSecond = 1.2e9;

const [path = '', layers = '1'] = process.argv.slice(2);
process.send?.(await measure(path, Number(layers)), () => process.exit(0));

async function measure(file: string, stageLayers: number): Promise<LargeResult> {
  const startedMs = performance.now();
  const gguf = await openGguf(file);
  const request = surveyRequest(gguf);
  const openMs = performance.now() - startedMs;
  let surveyPeakBytes = 0;
  const poll = setInterval(() => {
    for (const pid of childProcessIds(process.pid))
      surveyPeakBytes = Math.max(surveyPeakBytes, peakResidentBytes(pid) || 0);
  }, pollMs);
  const surveyStartedMs = performance.now();
  const survey = await surveyInChild(request, { ggmlDirectory: undefined });
  const surveyMs = performance.now() - surveyStartedMs;
  clearInterval(poll);
  const spec = describeImported(gguf, survey);
  const plan = timePlan(spec);
  const range = { layerStart: spec.layers - stageLayers, layerEnd: spec.layers };
  return {
    fileBytes: (await stat(file)).size,
    layers: spec.layers,
    openMs,
    surveyMs,
    surveyPeakBytes,
    ...plan,
    stageLayers,
    ...timeGraphs(loadGgml({ log: silentLogger }), spec, { ...survey, range }),
  };
}

function timePlan(spec: ModelSpec): Pick<LargeResult, 'planMs' | 'stages'> {
  const curve = (bytes: number): PlannerMember['profile']['layerCurve'] =>
    [1, 8, 64].map((rows) => ({ rows, micros: (bytes / weightBytesPerSecond) * 1e6 * (1 + rows / 8) }));
  const meanLayer = layerBytes(spec).reduce((sum, bytes) => sum + bytes, 0) / spec.layers;
  const profile = {
    layerCurve: curve(meanLayer),
    outputCurve: curve(outputBytes(spec)),
    attentionMicros: { f16: 1, bf16: 1, q8_0: 1 },
  };
  const members = Array.from({ length: servers }, (_, i): PlannerMember => ({
    workerId: `server-${i}`,
    name: `server-${i}`,
    memoryBytes: serverBytes,
    profile,
  }));
  const link = () => ({ latencyMicros: 100, bytesPerSecond: networkBytesPerSecond, isRelayed: false });
  const options = { spec, arenaSlots: 32_768, rowsMax, concurrency: 8, wishes: plainWishes };
  const startedMs = performance.now();
  const { stages } = planPipeline(plannerInput(options, members, link, 'f16'));
  return { planMs: performance.now() - startedMs, stages: stages.length };
}

/** Builds graphs of the last layers and the head, as a worker that holds them does, over no memory. */
function timeGraphs(
  ggml: Ggml,
  spec: ModelSpec,
  {
    range,
    ...survey
  }: ConstructorParameters<typeof TrialMemory>[1] & {
    readonly range: { readonly layerStart: number; readonly layerEnd: number };
  },
): Pick<LargeResult, 'builderMs' | 'builderBytes' | 'graphMs'> {
  const bytesBefore = residentBytes(process.pid);
  const startedMs = performance.now();
  using model = new HeaderModel(ggml, {
    header: headerOf(spec),
    contextTokens: 4096,
    rowsMax,
    cacheType: dtype.F16,
  });
  const names = new Set(spec.tensors.map(({ name }) => name));
  const graphs = new StageGraphs({ ggml, model, range, attention: spec.attention, names });
  const builderMs = performance.now() - startedMs;
  using memory = new TrialMemory(ggml, survey);
  const find = memory.weights(graphs.weights);
  const caches = memory.caches.slice(range.layerStart);
  const states = memory.states.slice(range.layerStart);
  const time = (batch: BatchShape): number => {
    const beganMs = performance.now();
    graphs.build(batch, find, caches, states).graph[Symbol.dispose]();
    return performance.now() - beganMs;
  };
  const times = (batchOf: (i: number) => BatchShape): number =>
    median(Array.from({ length: timesPerShape }, (_, i) => time(batchOf(i))));
  const decode = times((i) => batch(Array.from({ length: 1 + i }, () => 1)));
  const prompt = times((i) => batch([rowsMax - i]));
  return {
    builderMs,
    builderBytes: residentBytes(process.pid) - bytesBefore,
    graphMs: { decode, prompt },
  };
}

function batch(rowsOfSequences: readonly number[]): BatchShape {
  const spans = rowsOfSequences.map((rows, i) => ({
    rows,
    ...plainLayout(rows, rows),
    cached: { start: i * 2 * regionSlots, slots: Math.ceil(rows / regionSlots) * regionSlots, first: 0 },
    room: null,
  }));
  const rows = rowsOfSequences.reduce((sum, each) => sum + each, 0);
  const logitRows = rowsOfSequences.length;
  return { rows, paddedRows: rows, spans, logitRows, paddedLogitRows: logitRows };
}
