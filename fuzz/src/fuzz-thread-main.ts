import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { Corpus, inputsIn } from './engine/corpus.js';
import { Coverage } from './engine/coverage.js';
import { Fuzzer } from './engine/fuzzer.js';
import { loadTarget } from './targets/index.js';
import type { ThreadMessage, ThreadOptions } from './engine/thread-messages.js';

const options = workerData as ThreadOptions;
const tell = (message: ThreadMessage): void => parentPort?.postMessage(message);

// Before the target is loaded, so that all of it is counted.
const coverage = await Coverage.start('/packages/');
const target = await loadTarget(options.target);

const place = new Int32Array(options.shared, 0, 2);
const current = new Uint8Array(options.shared, place.byteLength);
const corpus = new Corpus(options.grown);
const fuzzer = new Fuzzer({
  target,
  seed: options.seed,
  slowMs: options.slowMs,
  coverage,
  corpus,
  onInput: (input) => {
    current.set(input.subarray(0, current.length));
    Atomics.store(place, 1, Math.min(input.length, current.length));
    Atomics.add(place, 0, 1);
  },
  onFinding: ({ input, problem }) => tell({ kind: 'finding', input: new Uint8Array(input), problem }),
});
let seedCharacters = 0;
const report = (kind: 'progress' | 'done'): void => {
  const { inputs, accepted, slowestMs } = fuzzer;
  tell({
    kind,
    inputs,
    accepted,
    slowestMs,
    corpus: corpus.size,
    characters: coverage.characters,
    seedCharacters,
  });
};

const seeds = options.folders.flatMap((folder) => inputsIn(join(folder, target.name)));
await fuzzer.tryAll([...seeds, new Uint8Array(0)].map((input) => input.subarray(0, target.inputBytesMax)));
for (const seed of seeds) corpus.add(seed);
seedCharacters = coverage.characters;
while (fuzzer.inputs < options.inputsMax && Date.now() < options.endMs) {
  await fuzzer.step(options.inputsMax - fuzzer.inputs);
  report('progress');
}
await coverage.stop();
report('done');
