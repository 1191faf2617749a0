import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { percentile } from '@butterfly/common';
import { type Journal, openEmbeddedJournal } from '@butterfly/journal';
import { printTable, writeResult } from './report.js';

const streams = 16;
/** A token id, its text and what tells where it was, as the engine would write it. */
const entryBytes = 12;
const tokensPerSecond = 40;
const bounds = { bytesMax: 256 * 2 ** 20, requestsMax: 1024 };

interface JournalCase {
  readonly name: string;
  readonly tokensPerStream: number;
  /** Runs all streams; each call appends the next token of a stream. */
  readonly run: (append: (stream: number) => Promise<void>, tokensPerStream: number) => Promise<void>;
}

const cases: readonly JournalCase[] = [
  { name: 'steps of 16, 40 per second', tokensPerStream: 400, run: inSteps },
  { name: 'one by one, 640 per second', tokensPerStream: 400, run: oneByOne },
  { name: 'as fast as it keeps them', tokensPerStream: 4000, run: asFastAsKept },
];

/** What keeping answers costs the process that computes them. */
export async function benchJournal(): Promise<void> {
  // The first run only warms the compiler up.
  await measure({ name: 'warm', tokensPerStream: 500, run: asFastAsKept });
  const results = [];
  for (const each of cases) results.push(await measure(each));
  printTable(
    `The embedded journal: ${streams} streams, ${entryBytes} bytes a token (to reach: 0.2 ms of the event loop per token)`,
    [
      'tokens come',
      'tokens/s',
      'kept after p50 ms',
      'p99',
      'max',
      'loop ms/token',
      'process ms/token',
      'bytes/token',
    ],
    results.map((each) => [
      ...[each.name, each.perSecond.toFixed(0)],
      ...[each.keptMs.p50, each.keptMs.p99, each.keptMs.max].map((millis) => millis.toFixed(2)),
      ...[each.loopMs, each.processMs].map((millis) => millis.toFixed(3)),
      each.bytesWritten.toFixed(0),
    ]),
  );
  writeResult('journal', { streams, entryBytes, results });
}

async function measure({ name, tokensPerStream, run }: JournalCase) {
  const directory = mkdtempSync(join(tmpdir(), 'butterfly-bench-journal-'));
  const journal = await openEmbeddedJournal({ directory, ...bounds });
  for (let stream = 0; stream < streams; stream++) await begin(journal, stream);
  const delays: number[] = [];
  const before = usage();
  await run(async (stream) => {
    const start = performance.now();
    await journal.append(String(stream), [new Uint8Array(entryBytes).fill(stream)]);
    delays.push(performance.now() - start);
  }, tokensPerStream);
  const after = usage();
  await journal.close();
  rmSync(directory, { recursive: true });
  const tokens = delays.length;
  return {
    name,
    tokens,
    perSecond: (tokens * 1000) / (after.wallMs - before.wallMs),
    keptMs: { p50: percentile(delays, 50), p99: percentile(delays, 99), max: percentile(delays, 100) },
    /** Time of the processor that the thread of the event loop, and the whole process, took for one token. */
    loopMs: (after.loopMs - before.loopMs) / tokens,
    processMs: (after.processMs - before.processMs) / tokens,
    bytesWritten: (after.bytes - before.bytes) / tokens,
  };
}

function begin(journal: Journal, stream: number): Promise<void> {
  const nowMs = Date.now();
  const [id, handle] = [String(stream), `handle of ${stream}`];
  const asked = JSON.stringify({ prompt: 'x'.repeat(2000) });
  return journal.begin({ id, handle, model: 'm', startedMs: nowMs, deadlineMs: nowMs + 60_000, asked });
}

async function inSteps(append: (stream: number) => Promise<void>, tokens: number): Promise<void> {
  const kept: Promise<void>[] = [];
  for (let token = 0; token < tokens; token++) {
    for (let stream = 0; stream < streams; stream++) kept.push(append(stream));
    await wait(1000 / tokensPerSecond);
  }
  await Promise.all(kept);
}

async function oneByOne(append: (stream: number) => Promise<void>, tokens: number): Promise<void> {
  const kept: Promise<void>[] = [];
  const startMs = performance.now();
  for (let count = 0; count < tokens * streams; count++) {
    kept.push(append(count % streams));
    const leftMs = startMs + (count * 1000) / (tokensPerSecond * streams) - performance.now();
    if (leftMs > 0) await wait(leftMs);
  }
  await Promise.all(kept);
}

async function asFastAsKept(append: (stream: number) => Promise<void>, tokens: number): Promise<void> {
  await Promise.all(
    Array.from({ length: streams }, async (_, stream) => {
      for (let token = 0; token < tokens; token++) await append(stream);
    }),
  );
}

/** Of this process so far; of the thread of the event loop as Linux counts it. */
function usage() {
  const { user, system } = process.cpuUsage();
  const ofLoop = readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8');
  const written = /^wchar: (\d+)$/mu.exec(readFileSync('/proc/self/io', 'utf8'))?.[1];
  return {
    wallMs: performance.now(),
    loopMs: Number(ofLoop.split(' ')[0]) / 1e6,
    processMs: (user + system) / 1000,
    bytes: Number(written),
  };
}
