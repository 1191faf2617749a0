import { describeAny, surveyInChild } from '@butterfly/llama-graph';
import { openGguf } from '@butterfly/model';
import { cachedArchitectureModel } from '@butterfly/testkit';
import { comparedRows, compareSides, type ComparedLoad } from './imported/compare.js';
import { measureFamily, timeShapes, type FamilyResult, type ShapeTimes } from './imported/family.js';
import { measureLarge } from './imported/large.js';
import type { LargeResult } from './imported/large-result.js';
import { batchLoads } from './imported/load.js';
import { OracleSide } from './imported/oracle-side.js';
import { largeShapes, measuredShapes, quickShapes, type ImportedShape } from './imported/shapes.js';
import { StageSide } from './imported/stage-side.js';
import { lightModel, oneBillion } from './models.js';
import type { BenchOptions } from './options.js';
import { printTable, writeResult } from './report.js';

const mebibyte = 2 ** 20;

interface ModelResult {
  readonly title: string;
  readonly loads: readonly ComparedLoad[];
  readonly newShapes: ShapeTimes;
}

/** Models whose graphs llama.cpp builds: beside llama.cpp, beside our own graphs, and models too large for this machine. */
export async function benchImported({ repeats, threads, isQuick }: BenchOptions): Promise<void> {
  // All files before the first oracle, which takes llama.cpp's log, by which a writer knows how many tensors there are to be.
  const files: (ImportedShape & { readonly path: string })[] = [];
  for (const shape of isQuick ? quickShapes : measuredShapes)
    files.push({ ...shape, path: await cachedArchitectureModel(shape.fixture, 'Q4_0') });
  const large: (LargeResult & { readonly title: string })[] = [];
  for (const shape of largeShapes) large.push({ title: shape.title, ...(await measureLarge(shape)) });
  printLarge(large);
  const models: ModelResult[] = [];
  for (const { title, path } of files) {
    const result = { title, ...(await measureModel(path, threads, repeats)) };
    models.push(result);
    printTable(
      `${title}, Q4_0, ${threads} threads, medians of ${repeats}: tokens per second of all sequences`,
      ['model', 'sequences', 'phase', 'butterfly', 'llama.cpp', 'ratio', 'per CPU time'],
      comparedRows(title, result.loads),
    );
  }
  const family = await measureFamily(isQuick ? await lightModel() : await oneBillion(), {
    threads,
    repeats,
    loads: batchLoads.filter(({ sequences }) => sequences <= 8),
  });
  printFamily(family, threads, repeats);
  printTable(
    'Milliseconds to ready a step of a new shape, medians',
    ['model', 'graph', 'decode', 'piece of a prompt'],
    [
      ['llama', 'own', family.own.decodeMs, family.own.promptMs],
      ['llama', 'imported', family.imported.decodeMs, family.imported.promptMs],
      ...models.map(({ title, newShapes: { decodeMs, promptMs } }) => [
        title,
        'imported',
        decodeMs,
        promptMs,
      ]),
    ],
  );
  if (!isQuick) writeResult('models', { repeats, threads, models, family, large });
}

async function measureModel(
  path: string,
  threads: number,
  repeats: number,
): Promise<Omit<ModelResult, 'title'>> {
  const spec = await describeAny(await openGguf(path), (request) =>
    surveyInChild(request, { ggmlDirectory: undefined }),
  );
  using ours = await StageSide.load(spec, threads, batchLoads);
  await using theirs = await OracleSide.load(path, threads, batchLoads);
  const loads = await compareSides(ours, theirs, batchLoads, repeats);
  return { loads, newShapes: timeShapes(ours, batchLoads) };
}

function printFamily({ loads }: FamilyResult, threads: number, repeats: number): void {
  printTable(
    `A model of the llama family, ${threads} threads, medians of ${repeats}: tokens per second of all sequences`,
    ['model', 'sequences', 'phase', 'imported graph', 'own graph', 'ratio', 'per CPU time'],
    comparedRows('llama', loads),
  );
}

function printLarge(results: readonly (LargeResult & { readonly title: string })[]): void {
  printTable(
    'Headers of large models in Q4_0; the stage is that of the last layers',
    [
      'model',
      'file GB',
      'open ms',
      'survey ms',
      'its peak MiB',
      'plan ms',
      'stages',
      'stage ready ms',
      'its MiB',
      'decode graph ms',
      'prompt graph ms',
    ],
    results.map((r) => [
      r.title,
      r.fileBytes / 1e9,
      r.openMs,
      r.surveyMs,
      r.surveyPeakBytes / mebibyte,
      r.planMs,
      String(r.stages),
      r.builderMs,
      r.builderBytes / mebibyte,
      r.graphMs.decode,
      r.graphMs.prompt,
    ]),
  );
}
