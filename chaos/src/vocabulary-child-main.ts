import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { tryCase } from './vocabulary/ask.js';

/** Tries the cases from FROM to before TO. Which one it is at is in a file, since it may not live to tell. */
const [folder = '.', seed = '', from = '0', to = '0'] = process.argv.slice(2);
const progress = openSync(join(folder, 'progress'), 'w');
const outcomes: Record<string, number> = {};
for (let index = Number(from); index < Number(to); index++) {
  writeSync(progress, String(index).padStart(12), 0);
  const outcome = await tryCase({ seed, index, path: join(folder, 'case.gguf') });
  outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
}
process.stdout.write(JSON.stringify(outcomes));
