import { CpuBackend, loadGgml } from '@butterfly/ggml';
import { silentLogger } from '@butterfly/common';
import { Parameters } from './parameters.js';
import { Network } from './network.js';
import { planParameters, parameterCount } from './shape.js';
const [threads=2, layers=8, hidden=128, heads=4, ff=320, windows=8, context=256] = process.argv.slice(2).map(Number);
const shape = { layers, hidden, heads, feedForward: ff, vocabulary: 1024, context, normEpsilon: 1e-5, ropeBase: 10000 };
const backend = new CpuBackend(loadGgml({ log: silentLogger }), threads);
const parameters = new Parameters(backend, shape); parameters.initialize(1);
const net = new Network(backend, shape, parameters, windows, 'train');
const n = context * windows;
const tokens = Int32Array.from({ length: n }, (_, i) => (i * 7919) % 1024), targets = tokens.map((t) => (t * 31 + 1) % 1024);
const batch = { tokens, targets, documentStarts: tokens.map(() => 0) };
import { adamwValues } from '@butterfly/ggml';
console.log(parameterCount(planParameters(shape)), 'parameters');
let best = 1e9;
for (let s = 1; s <= 8; s++) {
  const v = adamwValues({ learningRate: 1e-3, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, step: s });
  parameters.values(parameters.matrixValues).set(v); parameters.values(parameters.vectorValues).set(v);
  const t = performance.now(); const loss = await net.run(batch); const ms = performance.now() - t; best = Math.min(best, ms);
  console.log(s, loss.toFixed(4), ms.toFixed(0), 'ms', ((n / ms) * 1000).toFixed(0), 'tok/s');
}
