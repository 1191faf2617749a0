import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { runCommand } from './command.js';
import {
  architectureFixtures,
  cachedArchitectureModel,
  cachedSyntheticModel,
  tinyModel,
} from '@butterfly/testkit';
import { reportOf } from './memcheck/report.js';

const usage = `Usage: npm run memcheck -- [--model PATH]...

Runs models of each kind of graph, or these, under valgrind (of Debian's packages), and tells of memory that ggml and llama.cpp
read, write or lose wrongly on the way that we drive them. Writes chaos/results/memcheck.txt; ends with 1 when there is any.
`;

/** One of each kind of memory and of graph: own, experts, compressed attention, windows, states of two kinds. */
const kinds = ['qwen3moe', 'deepseek2', 'gemma3', 'qwen35', 'mamba2'];
const results = fileURLToPath(new URL('../results/', import.meta.url));
const driver = fileURLToPath(new URL('memcheck-driver-main.js', import.meta.url));

await runCommand(main);

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { model: { type: 'string', multiple: true }, help: { type: 'boolean', default: false } },
  });
  if (values.help) {
    process.stderr.write(usage);
    return 0;
  }
  const models = values.model ?? (await usualModels());
  mkdirSync(results, { recursive: true });
  const log = join(tmpdir(), `butterfly-valgrind-${process.pid}.log`);
  const valgrind = [
    '--error-limit=no',
    '--leak-check=full',
    '--show-leak-kinds=definite',
    '--num-callers=30',
  ];
  // Code that is made while it runs is nothing that valgrind could follow.
  const node = ['--jitless', driver, ...models];
  const { status, error } = spawnSync(
    'valgrind',
    [...valgrind, `--log-file=${log}`, process.execPath, ...node],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  if (error || status !== 0) {
    process.stderr.write(`${error?.message ?? `It ended with ${status}.`}\n`);
    return 1;
  }
  return tell(readFileSync(log, 'utf8'), models);
}

async function usualModels(): Promise<string[]> {
  const fixtures = architectureFixtures().filter(({ name }) => kinds.includes(name));
  return Promise.all([
    cachedSyntheticModel({ ...tinyModel, type: 'Q4_0' }),
    ...fixtures.map((fixture) => cachedArchitectureModel(fixture, 'Q8_0')),
  ]);
}

function tell(log: string, models: readonly string[]): number {
  const { findings, elsewhere, ofCalls } = reportOf(log);
  const text = [
    `${models.length} models under valgrind: ${findings.length} findings in ggml and llama.cpp.`,
    `Not counted: ${ofCalls} in the library that calls them, for it changes stacks, and ${elsewhere} in Node.`,
    ...findings,
  ].join('\n');
  writeFileSync(`${results}memcheck.txt`, `${text}\n`);
  process.stdout.write(`${text}\n`);
  return findings.length === 0 ? 0 : 1;
}
