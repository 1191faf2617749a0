import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createLogger } from '@butterfly/common';
import { loadGgml } from '@butterfly/ggml';
import { lossCurve, type LogLine } from './curve.js';
import {
  answerAccuracy,
  bigramPerplexity,
  differencesFromLlama,
  heldOutTexts,
  perplexity,
  samples,
} from './evaluate.js';
import type { Precision } from './model-file.js';
import { Reader } from './reader.js';
import { recipe } from './recipe.js';
import { documents, rendered } from './text/documents.js';
import { train } from './train.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const workDirectory = `${root}.cache/training/`;
const logPath = `${root}training/log.jsonl`;
const modelPath = `${root}packages/butterfly/models/butterfly-stories.gguf`;
/** Only the first is committed; the others show what quantising costs. */
const outputs: readonly (readonly [string, Precision])[] = [
  [modelPath, 'Q8_0'],
  [`${workDirectory}F32.gguf`, 'F32'],
  [`${workDirectory}Q4_0.gguf`, 'Q4_0'],
];

/** Prompts whose greedy continuations are compared with llama.cpp's. */
const equalityPrompts = [
  'Once upon a time',
  'Mia was a little girl who',
  '<|user|>Who is the best friend of Finn?<|end|><|assistant|>',
  '<|user|>Tell me a story about Otto and a red kite.<|end|><|assistant|>',
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string', default: '1' },
    count: { type: 'string', default: '10' },
    /** A file to write the id of this process to. */
    pid: { type: 'string' },
  },
});
const threads = Number(values.threads);
const print = (line: string): void => void process.stdout.write(`${line}\n`);
const load = () => loadGgml({ log: createLogger({ level: 'warn', name: 'training' }) });

if (values.pid) await writeFile(values.pid, String(process.pid));
switch (positionals[0]) {
  case 'train':
    await train({ ggml: load(), recipe, threads, workDirectory, logPath, outputs, print });
    break;
  case 'evaluate':
    await evaluate();
    break;
  case 'text':
    writeText(Number(values.count));
    break;
  default:
    print('Usage: main.js train|evaluate|text [--threads N] [--count N] [--pid FILE]');
    process.exitCode = 2;
}

function writeText(count: number): void {
  const stream = documents('train', recipe.seed);
  for (let index = 0; index < count; index++) print(`${rendered(stream.next().value)}\n`);
}

/** Prints what the model card says about the finished model, and draws the loss curve. */
async function evaluate(): Promise<void> {
  const ggml = load();
  const log = (await readFile(logPath, 'utf8')).trimEnd().split('\n');
  await writeFile(
    `${root}docs/images/loss-curve.svg`,
    lossCurve(log.map((line) => JSON.parse(line) as LogLine)),
  );
  const stories = heldOutTexts('story', 300);
  const chats = heldOutTexts('chat', 300);
  print(
    `bigram: stories ${bigramPerplexity(ggml, modelPath, stories).toFixed(3)}, chats ${bigramPerplexity(ggml, modelPath, chats).toFixed(3)}`,
  );
  for (const [path, precision] of outputs.filter(([file]) => existsSync(file))) {
    using reader = await Reader.open(ggml, path, threads);
    const [onStories, onChats] = [await perplexity(reader, stories), await perplexity(reader, chats)];
    const { right, of } = await answerAccuracy(reader, chats);
    print(
      `${precision}: stories ${onStories.toFixed(4)}, chats ${onChats.toFixed(4)}, answers ${right} of ${of}`,
    );
  }
  using reader = await Reader.open(ggml, modelPath, threads);
  const different = await differencesFromLlama(reader, modelPath, equalityPrompts, 150);
  print(
    `greedy like llama.cpp: ${equalityPrompts.length - different.length} of ${equalityPrompts.length} prompts`,
  );
  const seeds = Array.from({ length: 20 }, (_, index) => index + 1);
  for (const [index, text] of (await samples(reader, 'Once upon a time', seeds)).entries())
    print(`${index + 1}. ${text}\n`);
}
