import {
  type GgufFile,
  type ImportedGraphSpec,
  type ModelSpec,
  type WindowsOfModel,
  MetadataReader,
  architectureEntries,
  cacheBlockSlots,
  describeFamilyModel,
  fitsRooms,
  graphHeader,
  readArchitecture,
  readPooling,
  readVocabulary,
  specOf,
  withHead,
} from '@butterfly/model';
import { ButterflyError, runningMaxOf, toButterflyError } from '@butterfly/common';
import { firstOwnState, roomSlotsFor } from '@butterfly/wire';
import { checkPlain, checkShape } from './refusal.js';
import type { SurveyRequest } from './survey-model.js';
import type { GraphSurvey } from './survey.js';

/** What of a model's arithmetic is not in its graph: how llama.cpp fills the inputs of these architectures. */
interface HiddenFacts {
  /** Whether windows are chunks: llama_swa_type of src/models/llama4.cpp. */
  readonly isChunked?: boolean;
  /** Whether its head scores the last row of a text, as llm_graph_input_cls::set_input of src/llama-graph.cpp has it. */
  readonly ranksLast?: boolean;
  /** Whether what llama.cpp asserts of a layer that predicts the token after the next one is so (`graph_mtp` in src/models/). */
  readonly hasHead?: (reader: MetadataReader) => boolean;
  /** Parameters of `inp_attn_scale`; null without. */
  readonly temperature?: (reader: MetadataReader) => ImportedGraphSpec['temperature'];
}

/** As src/models/deepseek2.cpp reads them. */
const latentTemperature = (reader: MetadataReader): ImportedGraphSpec['temperature'] => {
  const scale = reader.number('attention.temperature_scale') ?? 0;
  const floorScale = reader.count('attention.temperature_length') ?? 0;
  return scale === 0 || floorScale === 0 ? null : { floorScale, scale: Math.fround(scale), offset: 0 };
};

const hiddenFacts: Readonly<Record<string, HiddenFacts>> = {
  llama4: {
    isChunked: true,
    temperature: () => ({ floorScale: 8192, scale: Math.fround(0.1), offset: 1 }),
  },
  // src/models/mistral3.cpp
  mistral3: {
    temperature: (reader) => {
      const scale = reader.number('attention.temperature_scale') ?? 0;
      const floorScale =
        reader.count('rope.scaling.original_context_length') ?? reader.requiredCount('context_length');
      return scale === 0 ? null : { floorScale, scale: Math.fround(scale), offset: 0 };
    },
  },
  deepseek2: {
    temperature: latentTemperature,
    hasHead: (reader) =>
      (reader.count('attention.key_length_mla') ?? 0) > 0 &&
      (reader.count('attention.value_length_mla') ?? 0) > 0 &&
      (reader.number('attention.temperature_scale') ?? 0) === 0,
  },
  glm4moe: { hasHead: () => true },
  qwen35: { hasHead: () => true },
  qwen35moe: { hasHead: () => true },
  mistral4: { temperature: latentTemperature },
  qwen3: { ranksLast: true },
  qwen3vl: { ranksLast: true },
};

/** Tokens of a context unless more are asked for. */
const usualContextTokens = 4096;

/** For four sequences at once, unless more are asked for. */
const usualStateSlots = firstOwnState + 2 * 4;

/** @throws ButterflyError MODEL_UNSUPPORTED for a file that names no architecture */
export function surveyRequest(gguf: GgufFile): SurveyRequest {
  const architecture = readArchitecture(gguf);
  const { metadata, keys } = architectureEntries(gguf.entries, architecture);
  return {
    header: graphHeader({
      architecture,
      vocabulary: readVocabulary(gguf, readerOf(gguf, architecture)),
      metadata,
      metadataKeys: keys,
      tensors: gguf.tensors,
    }),
    names: gguf.tensors.map(({ name }) => name),
    isChunked: factsOf(architecture).isChunked ?? false,
    isRanking: readPooling(readerOf(gguf, architecture)) === 'rank',
    hasHead: hasHead(gguf, architecture),
  };
}

/**
 * Describes a model whose graph llama.cpp builds.
 * @throws ButterflyError MODEL_CORRUPT, MODEL_UNSUPPORTED
 */
export function describeImported(gguf: GgufFile, survey: GraphSurvey): ModelSpec {
  const architecture = readArchitecture(gguf);
  const reader = readerOf(gguf, architecture);
  const contextTrained = reader.requiredCount('context_length');
  const plainWeights = new Set([...survey.plainWeights, ...(survey.head?.plainWeights ?? [])]);
  const shapes = { ...survey.head?.shapes, ...survey.shapes };
  for (const tensor of gguf.tensors) {
    if (plainWeights.has(tensor.name)) checkPlain(tensor);
    const shape = Object.hasOwn(shapes, tensor.name) ? shapes[tensor.name] : undefined;
    if (shape) checkShape(tensor, shape);
  }
  const { metadata, keys } = architectureEntries(gguf.entries, architecture);
  // Which tokens are seen is not in the graph either, but in a mask that is filled for each step.
  if (reader.own('attention.causal') === false && !survey.isEncoder)
    throw reader.unsupported('its tokens see those that come later');
  const temperature = factsOf(architecture).temperature?.(reader) ?? null;
  if (survey.hasTemperature && temperature === null)
    throw reader.unsupported('its queries are scaled by their position in a way that is not known');
  return specOf(gguf, {
    architecture,
    layers: survey.layers,
    hidden: reader.requiredCount('embedding_length'),
    crossings: [...survey.crossings],
    tokenLayers: [...survey.tokenLayers],
    vocabulary: readVocabulary(gguf, reader),
    isEncoder: survey.isEncoder,
    embedding: embeddingOf(reader, architecture, survey),
    contextTrained,
    attention: [...survey.attention],
    sharedTensors: sharedTensors(gguf, survey),
    tiedEmbeddings: !survey.isEncoder && !gguf.tensors.some(({ name }) => name === 'output.weight'),
    graph: {
      kind: 'imported',
      metadata: metadata.toString('base64'),
      metadataKeys: keys,
      contextTokens: Math.min(contextTrained, usualContextTokens),
      states: survey.states.map((layer) => [...layer]),
      stateSlots: survey.states.some(({ length }) => length > 0) ? usualStateSlots : 0,
      windows: null,
      experts: expertsOf(reader),
      temperature: survey.hasTemperature ? temperature : null,
      head: survey.head && {
        attention: survey.head.attention,
        tensors: Object.keys(survey.head.shapes),
        isOn: false,
      },
    },
  });
}

/**
 * Describes a model: by what is known of its family here, else by the graph that llama.cpp builds of it.
 * @param survey makes the survey, where it may not end this process; see `surveyInChild`.
 * @throws ButterflyError MODEL_CORRUPT, MODEL_UNSUPPORTED, TIMEOUT
 */
export async function describeAny(
  gguf: GgufFile,
  survey: (request: SurveyRequest) => Promise<GraphSurvey>,
): Promise<ModelSpec> {
  try {
    return describeFamilyModel(gguf);
  } catch (thrown) {
    const error = toButterflyError(thrown);
    if (error.code !== 'MODEL_UNSUPPORTED') throw error;
  }
  return describeImported(gguf, await survey(surveyRequest(gguf)));
}

/** For what a model is served. */
export interface Service {
  /** By whose length some models compute. */
  readonly contextTokens: number;
  /** That run at once. */
  readonly sequences: number;
  /** States that are kept, beside those of sequences that run. */
  readonly checkpoints: number;
  readonly windowCache: WindowCache;
  /** Of one step. */
  readonly rowsMax: number;
  /** Whether its layer that predicts the token after the next one guesses, where it has one; by default not. */
  readonly hasHead?: boolean;
}

/** What layers with a sliding window keep: what it needs, the whole context, or the former where that saves half and more. */
export const windowCaches = ['auto', 'window', 'full'] as const;
export type WindowCache = (typeof windowCaches)[number];

/** The model as it is served. */
export function servedSpec(described: ModelSpec, service: Service): ModelSpec {
  const spec = service.hasHead ? withHead(described) : described;
  const { graph } = spec;
  if (graph.kind !== 'imported') return spec;
  const { contextTokens, sequences, checkpoints } = service;
  // A state is written to another slot than it is read from.
  const stateSlots = graph.stateSlots === 0 ? 0 : firstOwnState + 2 * sequences + checkpoints;
  return { ...spec, graph: { ...graph, contextTokens, stateSlots, windows: servedWindows(spec, service) } };
}

/** The rooms of window layers; null where these keep the whole context. */
function servedWindows(
  { attention, graph }: ModelSpec,
  { contextTokens, sequences, checkpoints, windowCache, rowsMax }: Service,
): WindowsOfModel | null {
  const windowTokens = attention.find(fitsRooms)?.window?.tokens;
  // Where other layers keep states, a sequence would have a place of both, which are reused by unlike rules.
  const hasStates = graph.kind === 'imported' && graph.stateSlots > 0;
  if (windowTokens === undefined || hasStates || windowCache === 'full') return null;
  const rooms = runningMaxOf(sequences) + checkpoints;
  const roomSlots = roomSlotsFor(windowTokens, rowsMax);
  const contextSlots = Math.ceil(contextTokens / cacheBlockSlots) * cacheBlockSlots;
  const isWorthwhile = 2 * rooms * roomSlots <= sequences * contextSlots;
  return windowCache === 'window' || isWorthwhile ? { windowTokens, rooms, roomSlots } : null;
}

/** The GGUF header from which the graphs of an imported model are built. */
export function headerOf({ architecture, vocabulary, tensors, graph }: ModelSpec): Buffer {
  if (graph.kind !== 'imported')
    throw new ButterflyError('COMPUTE_INVALID', 'The graph of this model is not llama.cpp’s.');
  return graphHeader({
    architecture,
    vocabulary,
    metadata: Buffer.from(graph.metadata, 'base64'),
    metadataKeys: graph.metadataKeys,
    tensors,
  });
}

/** The layer whose guesses llama.cpp builds the graph of lies behind all others, and is the only one of its kind. */
function hasHead(gguf: GgufFile, architecture: string): boolean {
  const reader = readerOf(gguf, architecture);
  const layer = (reader.count('block_count') ?? 0) - 1;
  return (
    reader.count('nextn_predict_layers') === 1 &&
    (factsOf(architecture).hasHead?.(reader) ?? false) &&
    gguf.tensors.some(({ name }) => name === `blk.${layer}.nextn.eh_proj.weight`)
  );
}

function factsOf(architecture: string): HiddenFacts {
  return Object.hasOwn(hiddenFacts, architecture) ? (hiddenFacts[architecture] ?? {}) : {};
}

function readerOf(gguf: GgufFile, architecture: string): MetadataReader {
  return new MetadataReader(gguf.metadata, architecture, gguf.files[0]?.path ?? '');
}

/** Which layers use what belongs to none, and what nobody uses. */
function sharedTensors(gguf: GgufFile, survey: GraphSurvey): Record<string, number[]> {
  const shared: Record<string, number[]> = {};
  for (const { name } of gguf.tensors) {
    const users = Object.hasOwn(survey.users, name) ? (survey.users[name] ?? []) : [];
    const isOwn = users.length === 1 && name.startsWith(`blk.${users[0]}.`);
    const isOfAll = users.length === survey.layers && !name.startsWith('blk.');
    if (!isOwn && !isOfAll) shared[name] = [...users];
  }
  return shared;
}

function embeddingOf(
  reader: MetadataReader,
  architecture: string,
  { embedding }: GraphSurvey,
): ModelSpec['embedding'] {
  if (!embedding) return null;
  const { width, scores, takes } = embedding;
  const row = factsOf(architecture).ranksLast ? 'last' : 'first';
  const ranks = scores > 0 ? ({ takes: takes === 'mean' ? 'mean' : row, scores } as const) : null;
  return { pooling: readPooling(reader), width, ranks };
}

function expertsOf(reader: MetadataReader): ImportedGraphSpec['experts'] {
  const total = largest(reader, 'expert_count');
  const used = largest(reader, 'expert_used_count');
  return total > 0 && used > 0 ? { count: total, used } : null;
}

/** Of a number that some files have once for all layers, and others once for each; 0 without. */
function largest(reader: MetadataReader, key: string): number {
  const value = reader.own(key);
  if (typeof value !== 'object') return reader.number(key) ?? 0;
  return Math.max(0, ...(value.values ?? []).filter((each) => typeof each === 'number'));
}
