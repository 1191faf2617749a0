import { basename, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ButterflyError, type Logger, toButterflyError } from '@butterfly/common';
import { loadGgml, loadVocabulary } from '@butterfly/ggml';
import {
  SurveyCache,
  type WindowCache,
  describeAny,
  servedSpec,
  surveyInChild,
} from '@butterfly/llama-graph';
import { type ModelSpec, checkFiles, openGguf } from '@butterfly/model';
import { stepRowsMax } from '@butterfly/orchestrator';
import { modelsDirectory, type CacheVariables } from '../directories.js';
import type { OpenedModel } from './opened-model.js';
import { findPulled } from '../hub/pulled.js';
import { isHubReference, parseHubReference } from '../hub/reference.js';

/** The small model that ships with Butterfly (models/README.md). */
export const ownModel = fileURLToPath(new URL('../../models/butterfly-stories.gguf', import.meta.url));

export interface OpenOptions {
  readonly ggmlDirectory: string | undefined;
  /** Where what a survey found is kept for the next time; null keeps nothing. See `surveysDirectory`. */
  readonly surveys: string | null;
  readonly log: Logger;
}

/**
 * Reads what the orchestrator needs of a model: its description and its tokenizer, not its weights.
 * @throws ButterflyError as `openGguf` does, LIBRARY_MISSING, LIBRARY_MISMATCH
 */
export async function openModel(path: string, options: OpenOptions): Promise<OpenedModel> {
  const spec = await readModelSpec(path, options);
  const ggml = loadGgml({ directory: options.ggmlDirectory, log: options.log });
  const vocabulary = loadVocabulary(ggml, spec.files[0]?.path ?? path);
  try {
    // The library has opened the file by its path, which may be another one's by now.
    await checkFiles(spec);
  } catch (error) {
    vocabulary[Symbol.dispose]();
    throw error;
  }
  if (vocabulary.size !== spec.vocabulary) {
    vocabulary[Symbol.dispose]();
    throw new ButterflyError(
      'MODEL_CORRUPT',
      `${path} has ${vocabulary.size} tokens but embeddings for ${spec.vocabulary}; convert it anew.`,
    );
  }
  return { spec, vocabulary, id: basename(path, '.gguf') };
}

/**
 * Describes a model file of any architecture.
 * @throws ButterflyError as `openGguf` does, MODEL_UNSUPPORTED, TIMEOUT, LIBRARY_MISSING, LIBRARY_MISMATCH
 */
export async function readModelSpec(path: string, options: OpenOptions): Promise<ModelSpec> {
  const { ggmlDirectory, surveys, log } = options;
  // Workers on this machine look for the file where this process finds it, from whatever folder they were started in.
  const gguf = await openGguf(resolve(path), { log });
  if (surveys === null) return describeAny(gguf, (request) => surveyInChild(request, { ggmlDirectory }));
  const cache = new SurveyCache(surveys, ggmlDirectory, log);
  return describeAny(gguf, (request) =>
    cache.find(request, (missing) => surveyInChild(missing, { ggmlDirectory })),
  );
}

/**
 * The path of a model that a person named: a path, or what was pulled under a name of a hub.
 * @param cacheDir what `--cache-dir` says, where models are looked for first
 * @throws ButterflyError CONFIG_INVALID, MODEL_NOT_FOUND
 */
export async function resolveModelPath(
  named: string,
  variables: CacheVariables,
  cacheDir?: string,
): Promise<string> {
  if (!isHubReference(named)) return named;
  const reference = parseHubReference(named);
  const usual = modelsDirectory(variables);
  const first = modelsDirectory(variables, cacheDir);
  if (first === null)
    throw new ButterflyError(
      'MODEL_NOT_FOUND',
      `This user has no home directory where ${named} could be; say where with --cache-dir or XDG_CACHE_HOME, or give a path.`,
    );
  try {
    return await findPulled(reference, first);
  } catch (error) {
    if (usual === null || usual === first || toButterflyError(error).code !== 'MODEL_NOT_FOUND') throw error;
    return findPulled(reference, usual);
  }
}

const defaultContextTokens = 4096;
/** A single chat has some states that are worth keeping; of many, each has one. */
const checkpointsMin = 4;

/** Whether the layer of a model that predicts further tokens guesses: where it has such a layer, in any case, or never. */
export const mtpWishes = ['auto', 'on', 'off'] as const;
export type MtpWish = (typeof mtpWishes)[number];

/**
 * The model with the states and the head that it is served with.
 * @param checkpoints undefined for as many as are usual
 * @throws ButterflyError CONFIG_INVALID, MODEL_UNSUPPORTED for a head that is wanted where there is none
 */
export function servedModel(
  spec: ModelSpec,
  { contextTokens: tokens, parallel, checkpoints, windowCache, mtp, speculation = 'auto' }: ServedSizes,
): ModelSpec {
  if (mtp === 'on' && speculation === 'off')
    throw new ButterflyError(
      'CONFIG_INVALID',
      'The layer of the model that predicts further tokens guesses them, and speculation is off; leave out one or the other.',
      { param: 'mtp' },
    );
  const isAsked = mtp === 'on' || (mtp === 'auto' && speculation === 'auto');
  return servedSpec(spec, {
    contextTokens: tokens,
    sequences: parallel,
    checkpoints: checkpoints ?? Math.max(checkpointsMin, parallel),
    windowCache,
    rowsMax: stepRowsMax(spec, tokens),
    hasHead: isAsked && (mtp === 'on' || (spec.graph.kind === 'imported' && spec.graph.head !== null)),
  });
}

interface ServedSizes {
  readonly contextTokens: number;
  readonly parallel: number;
  readonly checkpoints: number | undefined;
  readonly windowCache: WindowCache;
  readonly mtp: MtpWish;
  /** Whether anything guesses; by default it may. */
  readonly speculation?: 'auto' | 'off';
}

/**
 * The context to serve: what was asked for, else what the model was trained for, within reason.
 * @param isBound whether what was asked for is for several models, of which each has as much as it was trained for at most
 * @throws ButterflyError CONFIG_INVALID for more tokens than a model has positions for, which its kernels would not look up
 */
export function contextTokens(
  spec: ModelSpec,
  asked: number | undefined,
  log: Logger,
  isBound = false,
): number {
  const trained = spec.contextTrained * (spec.graph.kind === 'family' ? spec.graph.rope.scaling.factor : 1);
  const positions = spec.tensors.find(({ name }) => name === 'position_embd.weight')?.shape[1] ?? Infinity;
  if (isBound && asked !== undefined) return Math.min(asked, trained, positions);
  if (asked !== undefined && asked > positions)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `A context of ${asked} tokens exceeds the ${positions} positions that this model has; lower --ctx.`,
      { param: 'ctx' },
    );
  if (asked !== undefined && asked > trained)
    log.warn(
      { asked, trained: spec.contextTrained },
      'The context is longer than the model was trained for.',
    );
  return asked ?? Math.min(spec.contextTrained, defaultContextTokens);
}
