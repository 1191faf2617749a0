import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { nameOf } from './engine/corpus.js';
import { type TargetReport, superviseTarget } from './engine/supervise.js';
import { targetNames } from './targets/index.js';

const usage = `Usage: npm run fuzz -- [--minutes N] [--target NAME]... [--seed TEXT] [--keep FOLDER]

Feeds changed inputs to what reads files, peers and clients, and keeps those that reach code that none reached before. The
minutes are shared by all targets. Ends with 1 when an input did what none may do; it is in FOLDER/findings then.

Targets: ${targetNames.join(' ')}
`;

const keptCorpus = fileURLToPath(new URL('../corpus/', import.meta.url));
/** Of one input; what is loaded with the first one takes a while. */
const slowMs = 5_000;
const usualFolder = fileURLToPath(new URL('../../.cache/fuzz/', import.meta.url));

process.exitCode = await main();

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '5' },
      target: { type: 'string', multiple: true, default: [...targetNames] },
      seed: { type: 'string', default: '1' },
      keep: { type: 'string', default: usualFolder },
      help: { type: 'boolean', default: false },
    },
  });
  const minutes = Number(values.minutes);
  const isKnown = values.target.every((name) => targetNames.includes(name));
  if (values.help || !(minutes > 0) || !isKnown) {
    process.stderr.write(usage);
    return values.help ? 0 : 2;
  }
  let failures = 0;
  for (const target of values.target) {
    const report = await fuzz(target, (minutes * 60_000) / values.target.length, values.seed, values.keep);
    failures += report.findings.length;
  }
  return failures === 0 ? 0 : 1;
}

async function fuzz(target: string, durationMs: number, seed: string, folder: string): Promise<TargetReport> {
  const startMs = Date.now();
  const report = await superviseTarget({
    target,
    seed,
    inputsMax: Number.MAX_SAFE_INTEGER,
    slowMs,
    endMs: startMs + durationMs,
    folders: [keptCorpus, join(folder, 'corpus')],
    grown: join(folder, 'corpus', target),
    onFinding: ({ input, problem }) => {
      const findings = join(folder, 'findings');
      mkdirSync(findings, { recursive: true });
      const path = join(findings, `${target}-${nameOf(input)}`);
      writeFileSync(path, input);
      writeFileSync(`${path}.txt`, `${problem}\n`);
      process.stdout.write(`${target}: ${path}\n${problem}\n`);
    },
  });
  const { findings, ...figures } = report;
  const line = {
    ...figures,
    findings: findings.length,
    seconds: Math.round((Date.now() - startMs) / 1000),
    seed,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
  return report;
}
