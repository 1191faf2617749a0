import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { fuzzArchitectures } from './architecture/fuzz.js';

const usage = `Usage: node chaos/dist/architecture-main.js [--cases N] [--seed TEXT] [--processes N]

Changes one key or tensor in the headers of models of all architectures and describes them as a server does. Ends with 1 when
one was neither described nor refused for a reason.
`;

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '2000' },
    seed: { type: 'string', default: '1' },
    processes: { type: 'string', default: String(availableParallelism()) },
    help: { type: 'boolean', default: false },
  },
});
const [cases, processes] = [Number(values.cases), Number(values.processes)];
if (values.help || !Number.isInteger(cases) || cases < 1 || !Number.isInteger(processes) || processes < 1) {
  process.stderr.write(usage);
  process.exitCode = values.help ? 0 : 2;
} else {
  const startMs = performance.now();
  const report = await fuzzArchitectures({
    cases,
    seed: values.seed,
    processes,
    onProgress: (tried) => process.stderr.write(`\r${tried} of ${cases} `),
  });
  const seconds = Math.round((performance.now() - startMs) / 1000);
  process.stderr.write('\n');
  process.stdout.write(`${JSON.stringify({ cases, seed: values.seed, seconds, ...report }, null, 2)}\n`);
  process.exitCode = report.wrong.length === 0 ? 0 : 1;
}
