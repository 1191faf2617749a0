import { existsSync } from 'node:fs';
import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CpuBackend, type Ggml, type Vocabulary, adamwValues, loadVocabulary } from '@butterfly/ggml';
import { drawBatch } from './batches.js';
import { loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import { writeModel, type ModelContent, type Precision } from './model-file.js';
import { Network, type Batch } from './network.js';
import { Parameters } from './parameters.js';
import { learningRate, type Recipe } from './recipe.js';
import { documents } from './text/documents.js';
import { learnPieces, reservedTokens, tokenizerMetadata } from './tokenizer.js';

export interface TrainingOptions {
  readonly ggml: Ggml;
  readonly recipe: Recipe;
  readonly threads: number;
  /** For the checkpoint and the vocabulary. */
  readonly workDirectory: string;
  /** JSON lines: what each tenth step cost and gave. */
  readonly logPath: string;
  /** Where the finished model goes, in each precision that is wanted. */
  readonly outputs: readonly (readonly [path: string, precision: Precision])[];
  readonly print: (line: string) => void;
}

/** Steps that one line of the log is the mean of. */
const logEverySteps = 10;

/** Seeds of the steps' texts are apart from those of other uses. */
const stepSeed = (seed: number, step: number): number => seed * 1_000_000 + step;

/** Trains from the last checkpoint, or from the start, to the end of the recipe, and writes the model. */
export async function train(options: TrainingOptions): Promise<void> {
  const { ggml, recipe, workDirectory } = options;
  await mkdir(workDirectory, { recursive: true });
  const tokenizer = makeTokenizer(recipe);
  const vocabularyPath = join(workDirectory, 'vocabulary.gguf');
  await writeModel(vocabularyPath, { shape: recipe.shape, tokenizer, weights: [] }, 'F32');
  using vocabulary = loadVocabulary(ggml, vocabularyPath);
  using backend = new CpuBackend(ggml, options.threads);
  using parameters = new Parameters(backend, recipe.shape);
  parameters.initialize(recipe.seed);
  const checkpointPath = join(workDirectory, 'checkpoint.bin');
  const first = (await loadCheckpoint(checkpointPath, parameters)) + 1;
  await keepLog(options.logPath, first - 1);
  await runSteps(options, { backend, parameters, vocabulary }, first, checkpointPath);
  const weights = parameters.list.map(({ plan, tensor }) => ({ plan, values: parameters.values(tensor) }));
  const content: ModelContent = { shape: recipe.shape, tokenizer, weights };
  for (const [path, precision] of options.outputs) await writeModel(path, content, precision);
}

/** Learns the pieces from the text of training documents. */
function makeTokenizer({ shape, seed, tokenizerDocuments }: Recipe): ReturnType<typeof tokenizerMetadata> {
  const stream = documents('train', seed);
  const texts = Array.from({ length: tokenizerDocuments }, () => stream.next().value).flatMap((document) =>
    document.kind === 'story' ? [document.text] : document.turns.map(({ content }) => content),
  );
  const pieces = learnPieces(texts, shape.vocabulary - reservedTokens);
  if (pieces.length + reservedTokens !== shape.vocabulary)
    throw new RangeError(`the text gives only ${pieces.length} pieces`);
  return tokenizerMetadata(pieces);
}

/** Drops the lines of steps that a stopped run did not save. */
async function keepLog(path: string, lastStep: number): Promise<void> {
  if (!existsSync(path)) return;
  const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line !== '');
  const kept = lines.filter((line) => (JSON.parse(line) as { readonly step: number }).step <= lastStep);
  await writeFile(path, kept.map((line) => `${line}\n`).join(''));
}

interface Machinery {
  readonly backend: CpuBackend;
  readonly parameters: Parameters;
  readonly vocabulary: Vocabulary;
}

async function runSteps(
  { recipe, logPath, print }: TrainingOptions,
  { backend, parameters, vocabulary }: Machinery,
  first: number,
  checkpointPath: string,
): Promise<void> {
  const { shape, windows, seed } = recipe;
  const draw = (split: 'train' | 'heldOut', batchSeed: number): Batch =>
    drawBatch(split, batchSeed, { windows, context: shape.context }, vocabulary);
  using network = new Network(backend, shape, parameters, windows, 'train');
  using measure = new Network(backend, shape, parameters, windows, 'loss');
  const heldOut = Array.from({ length: recipe.heldOutWindows / windows }, (_, index) =>
    draw('heldOut', index),
  );
  let losses: number[] = [];
  let startedMs = performance.now();
  for (let step = first; step <= recipe.steps; step++) {
    setRates(parameters, recipe, step);
    losses.push(await network.run(draw('train', stepSeed(seed, step))));
    const isMeasured = step % recipe.heldOutEverySteps === 0 || step === recipe.steps;
    if (step % logEverySteps === 0 || isMeasured) {
      const elapsedMs = performance.now() - startedMs;
      const heldOutLoss = isMeasured ? await meanLoss(measure, heldOut) : null;
      const line = JSON.stringify({
        step,
        loss: rounded(mean(losses)),
        ...(heldOutLoss === null ? {} : { heldOutLoss: rounded(heldOutLoss) }),
        learningRate: rounded(learningRate(step, recipe)),
        tokensPerSecond: Math.round((losses.length * windows * shape.context * 1000) / elapsedMs),
        time: new Date().toISOString(),
      });
      await appendFile(logPath, `${line}\n`);
      print(line);
      losses = [];
      startedMs = performance.now();
    }
    if (step % recipe.checkpointEverySteps === 0 || step === recipe.steps)
      await saveCheckpoint(checkpointPath, step, parameters);
  }
}

function setRates(parameters: Parameters, recipe: Recipe, step: number): void {
  const common = { ...recipe, learningRate: learningRate(step, recipe), step };
  parameters.values(parameters.matrixValues).set(adamwValues(common));
  parameters.values(parameters.vectorValues).set(adamwValues({ ...common, weightDecay: 0 }));
}

async function meanLoss(network: Network, batches: readonly Batch[]): Promise<number> {
  const losses: number[] = [];
  for (const batch of batches) losses.push(await network.run(batch));
  return mean(losses);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function rounded(value: number): number {
  return Number(value.toPrecision(5));
}
