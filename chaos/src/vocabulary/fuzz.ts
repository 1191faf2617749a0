import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface FuzzReport {
  /** Cases by how they ended. */
  readonly outcomes: Readonly<Record<string, number>>;
  /** Cases that ended their process or never ended. */
  readonly fatal: readonly Fatal[];
}

interface Fatal {
  readonly index: number;
  /** How the process ended: a signal, an exit code, or `hang`. */
  readonly end: string;
  /** Whether the case does so alone; else some of the `batchCases` before it do. */
  readonly alone: boolean;
  /** The last lines that the process wrote. */
  readonly said: string;
}

interface Batch {
  readonly seed: string;
  readonly from: number;
  readonly to: number;
}

type BatchEnd =
  | { readonly kind: 'done'; readonly outcomes: Readonly<Record<string, number>> }
  | { readonly kind: 'died'; readonly at: number; readonly end: string; readonly said: string };

/** A process for so many cases: its start costs as much as some forty of them. */
const batchCases = 500;
/** No case takes a second; on a laden machine one may wait. */
const caseDeadlineMs = 60_000;
/** A package of this workspace, compiled: a process of Node runs it. */
const child = fileURLToPath(new URL('../../dist/vocabulary-child-main.js', import.meta.url));

/** Tries mutated vocabularies in child processes, and finds the one case that ends such a process. */
export async function fuzzVocabularies(options: {
  readonly cases: number;
  readonly seed: string;
  readonly processes: number;
  readonly onProgress?: (cases: number) => void;
}): Promise<FuzzReport> {
  const outcomes: Record<string, number> = {};
  const fatal: Fatal[] = [];
  const batches: Batch[] = [];
  for (let from = 0; from < options.cases; from += batchCases)
    batches.push({ seed: options.seed, from, to: Math.min(options.cases, from + batchCases) });
  batches.reverse();
  let tried = 0;
  const work = async (): Promise<void> => {
    for (let batch = batches.pop(); batch !== undefined; batch = batches.pop()) {
      const end = await runBatch(batch);
      if (end.kind === 'done') {
        for (const [outcome, count] of Object.entries(end.outcomes))
          outcomes[outcome] = (outcomes[outcome] ?? 0) + count;
        options.onProgress?.((tried += batch.to - batch.from));
        continue;
      }
      const { at } = end;
      const again = await runBatch({ ...batch, from: at, to: at + 1 });
      fatal.push({ index: at, end: end.end, alone: again.kind === 'died', said: end.said });
      batches.push(
        ...[
          { ...batch, to: at },
          { ...batch, from: at + 1 },
        ].filter(({ from, to }) => from < to),
      );
    }
  };
  await Promise.all(Array.from({ length: options.processes }, work));
  return { outcomes, fatal };
}

async function runBatch({ seed, from, to }: Batch): Promise<BatchEnd> {
  const folder = mkdtempSync(join(tmpdir(), 'butterfly-vocabularies-'));
  try {
    return await runIn(folder, [seed, String(from), String(to)]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function runIn(folder: string, cases: readonly string[]): Promise<BatchEnd> {
  const running = spawn(process.execPath, [child, folder, ...cases], { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let said = '';
  running.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  running.stderr.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-2000)));
  let last = { at: -1, sinceMs: performance.now() };
  let hangs = false;
  const watch = setInterval(() => {
    const at = caseOf(folder);
    if (at !== last.at) last = { at, sinceMs: performance.now() };
    else if (performance.now() - last.sinceMs > caseDeadlineMs) {
      hangs = true;
      running.kill('SIGKILL');
    }
  }, 1000);
  return new Promise((resolve, reject) => {
    running.once('error', reject);
    running.once('close', (code, signal) => {
      clearInterval(watch);
      if (code === 0) {
        resolve({ kind: 'done', outcomes: JSON.parse(out) as Record<string, number> });
        return;
      }
      const at = caseOf(folder);
      const end = hangs ? 'hang' : (signal ?? `exit code ${code ?? ''}`);
      if (at < 0) reject(new Error(`The child process did not start (${end}): ${said}`));
      else resolve({ kind: 'died', at, end, said });
    });
  });
}

/** The case that the child is at; -1 before the first. */
function caseOf(folder: string): number {
  try {
    const written = readFileSync(join(folder, 'progress'), 'utf8');
    return written === '' ? -1 : Number(written);
  } catch {
    return -1;
  }
}
