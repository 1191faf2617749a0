import { parseArgs } from 'node:util';
import { benchSingle } from './single.js';

const usage = `Usage: npm run bench -- single [--repeats N]

  single   one stream: prefill and decode beside llama.cpp, cost of each further stage, memory of workers
`;

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { repeats: { type: 'string', default: '5' } },
});
const repeats = Number(values.repeats);
if (positionals[0] === 'single' && Number.isInteger(repeats) && repeats >= 1) await benchSingle(repeats);
else {
  process.stderr.write(usage);
  process.exitCode = 2;
}
