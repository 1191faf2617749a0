import { describeImported, surveyInChild, surveyRequest } from '@butterfly/llama-graph';
import { describeFamilyModel, openGguf } from '@butterfly/model';
import { median } from '../load/statistics.js';
import { compareSides, type ComparedLoad } from './compare.js';
import type { BatchLoad } from './load.js';
import { StageSide } from './stage-side.js';

/** Milliseconds to ready a step of a shape that is new; medians. */
export interface ShapeTimes {
  /** Of some sequences that decode. */
  readonly decodeMs: number;
  /** Of a piece of a prompt. */
  readonly promptMs: number;
}

export interface FamilyResult {
  readonly own: ShapeTimes;
  readonly imported: ShapeTimes;
  /** `ours` is the imported graph, `theirs` the one that is built here. */
  readonly loads: readonly ComparedLoad[];
}

const shapes = 16;

/** A model of the llama family by the graph that llama.cpp builds of it, beside the graph that is built here. */
export async function measureFamily(
  path: string,
  options: { readonly threads: number; readonly repeats: number; readonly loads: readonly BatchLoad[] },
): Promise<FamilyResult> {
  const { threads, repeats, loads } = options;
  const gguf = await openGguf(path);
  const survey = await surveyInChild(surveyRequest(gguf), { ggmlDirectory: undefined });
  using imported = await StageSide.load(describeImported(gguf, survey), threads, loads);
  using own = await StageSide.load(describeFamilyModel(gguf), threads, loads);
  const compared = await compareSides(imported, own, loads, repeats);
  return { own: timeShapes(own, loads), imported: timeShapes(imported, loads), loads: compared };
}

/** Of a stage that has computed for a while, so that its code is warm. */
export function timeShapes(side: StageSide, loads: readonly BatchLoad[]): ShapeTimes {
  const most = loads.reduce((a, b) => (b.sequences > a.sequences ? b : a));
  const decoding = Array.from({ length: most.sequences - 1 }, (_, i) => i + 1);
  const pieces = Array.from({ length: shapes }, (_, i) => most.contextTokens - 1 - i);
  return {
    decodeMs: median(side.timeNewShapes('decode', decoding, most)),
    promptMs: median(side.timeNewShapes('prompt', pieces, most)),
  };
}
