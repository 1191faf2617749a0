import { formatBytes as bytes, printableLine } from '@butterfly/common';
import {
  type LayerAttention,
  type ModelSpec,
  activeBytes,
  activeParameterCount,
  cacheBytesPerSlot,
  countedLayers,
  everyStageBytes,
  fitsRooms,
  inputBytes,
  layerBytes,
  layerKinds,
  layerWords,
  operationsPerToken,
  outputBytes,
  parameterCount,
  quantisation,
  stateBytesPerSlot,
} from '@butterfly/model';
import { openModel, ownModel, resolveModelPath, surveysDirectory } from 'butterfly/command';
import { Command } from 'commander';
import type { Environment } from '../environment.js';
import { logFormatOption, openLog, type LogFlags } from '../log.js';
import { layersTogether } from '../layers-together.js';
import { cacheDirectoryOption } from '../options.js';
import { print } from '../terminal.js';
import { headWords } from '../serve-options/mtp-option.js';

interface InspectFlags extends LogFlags {
  readonly json?: boolean;
  readonly cacheDir?: string;
}

const examples = `
Examples:
  butterfly inspect model.gguf
  butterfly inspect model.gguf --json | jq .layers`;

export function inspectCommand(environment: Environment): Command {
  return new Command('inspect')
    .description('Show what a model file holds, without loading its weights.')
    .argument(
      '[model]',
      'GGUF file, or hf:ORG/REPO:FILE that was pulled (default: the small one that ships with Butterfly)',
      ownModel,
    )
    .option('--json', 'print JSON')
    .addOption(cacheDirectoryOption())
    .addOption(logFormatOption())
    .addHelpText('after', examples)
    .action(async (path: string, flags: InspectFlags) => {
      const log = await openLog(environment, flags, 'inspect');
      // As `serve` opens it, so that it refuses the same files.
      const { spec, vocabulary } = await openModel(
        await resolveModelPath(path, environment, flags.cacheDir),
        {
          ggmlDirectory: environment.BUTTERFLY_GGML_DIR,
          surveys: surveysDirectory(environment, flags.cacheDir),
          log,
        },
      );
      vocabulary[Symbol.dispose]();
      const summary = summarize(spec);
      print(flags.json ? `${JSON.stringify(summary, null, 2)}\n` : toText(summary));
    });
}

function summarize(spec: ModelSpec) {
  const words = layerWords(spec);
  return {
    ...spec,
    tensors: spec.tensors.length,
    parameters: parameterCount(spec),
    activeParameters: activeParameterCount(spec),
    quantisation: quantisation(spec),
    files: spec.files.map(({ path, bytes }) => ({ path, bytes })),
    layerBytes: layerBytes(spec),
    layerKinds: layerKinds(spec).map((kind) => ({
      layers: kind.layers,
      words: words[kind.layers[0] ?? 0] ?? '',
      bytes: kind.plainBytes + kind.expertBytes,
      activeBytes: activeBytes(kind),
    })),
    kindsOfLayers: countedLayers(words),
    inputBytes: inputBytes(spec),
    outputBytes: outputBytes(spec),
    everyStageBytes: everyStageBytes(spec),
    cacheBytesPerToken: spec.attention.reduce((sum, layer) => sum + cacheBytesPerSlot(layer, 'f16'), 0),
    windowCacheBytesPerToken: spec.attention
      .filter(fitsRooms)
      .reduce((sum, layer) => sum + cacheBytesPerSlot(layer, 'f16'), 0),
    stateBytesPerSequence: spec.attention.reduce((sum, _, layer) => sum + stateBytesPerSlot(spec, layer), 0),
    operationsPerToken: operationsPerToken(spec),
    furtherTokens: headWords(spec),
  };
}

/** Layers by what they are, such as `24 layers with 32 heads`. */
function attentionWords({
  attention,
  graph,
  isEncoder,
}: {
  readonly isEncoder: boolean;
  readonly attention: readonly (LayerAttention | null)[];
  readonly graph: ModelSpec['graph'];
}): string {
  if (isEncoder) return 'over whole texts, of which nothing is cached';
  const kinds = new Map<string, number>();
  for (const [index, layer] of attention.entries()) {
    if (layer === null) {
      const hasState = graph.kind === 'imported' && (graph.states[index]?.length ?? 0) > 0;
      const instead = hasState ? 'a state instead' : 'no keys and values of their own';
      kinds.set(instead, (kinds.get(instead) ?? 0) + 1);
      continue;
    }
    const { heads, kvHeads, keySize, valueSize, window } = layer;
    const sizes = valueSize === keySize || valueSize === 0 ? `${keySize}` : `${keySize} and ${valueSize}`;
    const latent = valueSize === 0 ? ', latent' : '';
    const sees = window === null ? '' : `, ${window.kind} window of ${window.tokens}`;
    const words = `${heads} heads of ${sizes}, ${kvHeads} KV heads${latent}${sees}`;
    kinds.set(words, (kinds.get(words) ?? 0) + 1);
  }
  if (kinds.size === 1) return [...kinds.keys()].join('');
  return [...kinds].map(([words, layers]) => `${layers} layers with ${words}`).join('; ');
}

/** Of keys and values, those that need not be kept of a whole context. */
function windowShare({ windowCacheBytesPerToken: ofWindows }: ReturnType<typeof summarize>): string {
  return ofWindows === 0 ? '' : `, ${bytes(ofWindows)} of it in layers with a sliding window`;
}

/** What a model makes of texts as a whole. */
function embeddingWords({ embedding }: Pick<ModelSpec, 'embedding'>): string {
  if (embedding === null) return 'none';
  const { width, pooling, ranks } = embedding;
  if (ranks) return `${ranks.scores === 1 ? 'one score' : `${ranks.scores} scores`} of each text`;
  return `${width} numbers${pooling === null ? '' : `, pooled by ${pooling}`}`;
}

/** What is only known of models whose graph is built here, or only of those whose graph llama.cpp builds. */
function graphRows({
  graph,
  parameters,
  activeParameters,
}: ReturnType<typeof summarize>): [string, string][] {
  if (graph.kind === 'imported') {
    const share = ((100 * activeParameters) / parameters).toFixed(0);
    return graph.experts
      ? [
          ['experts', `${graph.experts.used} of ${graph.experts.count} in each layer that has such`],
          ['active', `${activeParameters.toLocaleString('en')} parameters for each token (${share}%)`],
        ]
      : [];
  }
  const { scaling, base, kind } = graph.rope;
  const words = scaling.kind === 'none' ? '' : `, ${scaling.kind} scaling by ${scaling.factor}`;
  return [
    ['feed-forward', String(graph.feedForward)],
    ['rope', `base ${base}, ${kind}${words}`],
  ];
}

function toText(summary: ReturnType<typeof summarize>): string {
  const { tokenizer } = summary;
  const together = layersTogether(summary);
  const layerSizes = [...new Set(summary.layerBytes)].map(bytes).join(', ');
  const rows: (readonly [string, string])[] = [
    ['name', summary.name],
    ['architecture', summary.architecture],
    ['parameters', summary.parameters.toLocaleString('en')],
    [
      'quantisation',
      summary.quantisation.map((q) => `${q.typeName} ${bytes(q.bytes)} in ${q.tensors} tensors`).join('; '),
    ],
    ['layers', `${summary.layers}, each ${layerSizes}`],
    ...(summary.kindsOfLayers === '' ? [] : [['kinds of layers', summary.kindsOfLayers] as const]),
    ['embedding', `${bytes(summary.inputBytes)}${summary.tiedEmbeddings ? ', also the output matrix' : ''}`],
    ['output', bytes(summary.outputBytes)],
    ...(summary.everyStageBytes > 0
      ? ([['every stage', `${bytes(summary.everyStageBytes)} that several layers read`]] as const)
      : []),
    ...(together === null ? [] : ([['one stage', `${together}, which cannot be parted`]] as const)),
    ['hidden size', String(summary.hidden)],
    ['attention', attentionWords(summary)],
    ['embeddings', embeddingWords(summary)],
    ...graphRows(summary),
    ...(summary.furtherTokens === null ? [] : [['further tokens', summary.furtherTokens] as const]),
    ['context trained', `${summary.contextTrained} tokens`],
    ['KV cache', `${bytes(summary.cacheBytesPerToken)} per token in F16${windowShare(summary)}`],
    ...(summary.stateBytesPerSequence === 0
      ? []
      : [['state', `${bytes(summary.stateBytesPerSequence)} per sequence and checkpoint`] as const]),
    [
      'tokenizer',
      `${tokenizer.model ?? 'none'}${tokenizer.pre === null ? '' : ` (${tokenizer.pre})`}, ${summary.vocabulary} tokens`,
    ],
    [
      'chat template',
      tokenizer.chatTemplate === null ? 'none' : `${tokenizer.chatTemplate.length} characters (see --json)`,
    ],
    ['files', summary.files.map((file) => `${file.path} (${bytes(file.bytes)})`).join(', ')],
  ];
  return rows.map(([label, value]) => `${label.padEnd(16)} ${printableLine(value)}\n`).join('');
}
