import { formatBytes as bytes, printableLine } from '@butterfly/common';
import {
  type ModelSpec,
  cacheBytesPerSlot,
  inputBytes,
  layerBytes,
  operationsPerToken,
  outputBytes,
  parameterCount,
  quantisation,
} from '@butterfly/model';
import { openModel, ownModel, resolveModelPath } from 'butterfly';
import { Command } from 'commander';
import type { Environment } from '../environment.js';
import { logFormatOption, openLog, type LogFlags } from '../log.js';
import { cacheDirectoryOption } from '../options.js';
import { print } from '../terminal.js';

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
          log,
        },
      );
      vocabulary[Symbol.dispose]();
      const summary = summarize(spec);
      print(flags.json ? `${JSON.stringify(summary, null, 2)}\n` : toText(summary));
    });
}

function summarize(spec: ModelSpec) {
  return {
    ...spec,
    tensors: spec.tensors.length,
    parameters: parameterCount(spec),
    quantisation: quantisation(spec),
    files: spec.files.map(({ path, bytes }) => ({ path, bytes })),
    layerBytes: layerBytes(spec),
    inputBytes: inputBytes(spec),
    outputBytes: outputBytes(spec),
    cacheBytesPerToken: cacheBytesPerSlot(spec, 'f16') * spec.layers,
    operationsPerToken: operationsPerToken(spec),
  };
}

function toText(summary: ReturnType<typeof summarize>): string {
  const { rope, tokenizer } = summary;
  const layerSizes = [...new Set(summary.layerBytes)].map(bytes).join(', ');
  const scaling =
    rope.scaling.kind === 'none' ? '' : `, ${rope.scaling.kind} scaling by ${rope.scaling.factor}`;
  const rows: (readonly [string, string])[] = [
    ['name', summary.name],
    ['architecture', summary.architecture],
    ['parameters', summary.parameters.toLocaleString('en')],
    [
      'quantisation',
      summary.quantisation.map((q) => `${q.typeName} ${bytes(q.bytes)} in ${q.tensors} tensors`).join('; '),
    ],
    ['layers', `${summary.layers}, each ${layerSizes}`],
    ['embedding', `${bytes(summary.inputBytes)}${summary.tiedEmbeddings ? ', also the output matrix' : ''}`],
    ['output', bytes(summary.outputBytes)],
    ['hidden size', String(summary.hidden)],
    ['attention', `${summary.heads} heads of ${summary.headSize}, ${summary.kvHeads} KV heads`],
    ['feed-forward', String(summary.feedForward)],
    ['context trained', `${summary.contextTrained} tokens`],
    ['rope', `base ${rope.base}, ${rope.kind}${scaling}`],
    ['KV cache', `${bytes(summary.cacheBytesPerToken)} per token in F16`],
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
