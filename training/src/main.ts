import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createLogger } from '@butterfly/common';
import { loadGgml } from '@butterfly/ggml';
import { recipe } from './recipe.js';
import { train } from './train.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const workDirectory = `${root}.cache/training/`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string', default: '2' },
    steps: { type: 'string', default: String(recipe.steps) },
    pid: { type: 'string' },
  },
});
const print = (line: string): void => void process.stdout.write(`${line}\n`);

if (values.pid) writeFileSync(values.pid, String(process.pid));
if (positionals[0] === 'train')
  await train({
    ggml: loadGgml({ log: createLogger({ level: 'warn', name: 'training' }) }),
    recipe: { ...recipe, steps: Number(values.steps) },
    threads: Number(values.threads),
    workDirectory,
    logPath: `${root}training/log.jsonl`,
    outputs: [
      [`${root}models/butterfly-stories.gguf`, 'Q8_0'],
      [`${workDirectory}F32.gguf`, 'F32'],
      [`${workDirectory}Q4_0.gguf`, 'Q4_0'],
    ],
    print,
  });
