import { type OracleBatch, openOracleBatches } from '@butterfly/testkit';
import { runLoad, type LoadRun } from '../load/run-load.js';
import type { PeerAnswer, PeerOrder } from './peer-messages.js';

// The peer in a process of its own: llama.cpp through node-llama-cpp, driven without HTTP by the same load.
const batches = await openOracleBatches(process.argv[2] ?? '');
let batch: OracleBatch | null = null;
let shape = '';

process.on('message', (order: PeerOrder) => {
  run(order).then(
    (result) => answer({ id: order.id, kind: 'run', run: result }),
    (thrown: unknown) => answer({ id: order.id, kind: 'error', message: String(thrown) }),
  );
});
process.once('disconnect', () => {
  void batches[Symbol.asyncDispose]();
});

function answer(message: PeerAnswer): void {
  process.send?.(message);
}

async function run({ batch: options, requests, pattern }: PeerOrder): Promise<LoadRun> {
  if (JSON.stringify(options) !== shape || !batch) {
    await batch?.[Symbol.asyncDispose]();
    shape = '';
    batch = await batches.open(options);
    shape = JSON.stringify(options);
  }
  const current = batch;
  return runLoad(requests, pattern, async ({ prompt, outputTokens }) => {
    const piecesMs: number[] = [];
    const startMs = performance.now();
    await current.generate(prompt, outputTokens, () => piecesMs.push(performance.now()));
    return { startMs, piecesMs, tokens: piecesMs.length };
  });
}
