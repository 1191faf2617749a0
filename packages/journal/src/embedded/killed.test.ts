import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { once } from 'node:events';
import { afterEach, expect, it } from 'vitest';
import { embeddedPlace } from '../testing/embedded-place.js';

const bounds = { bytesMax: 64 * 1024 * 1024, requestsMax: 64 };
const requests = 6;

/** Goes on where the journal ends, appends numbers in order, some at once, and tells what is kept: `request number`. */
const child = `
import { openEmbeddedJournal } from '@butterfly/journal';
const journal = await openEmbeddedJournal({ directory: process.argv[1], ...${JSON.stringify(bounds)} });
const bytes = (number) => Buffer.from(String(number) + ' '.repeat(number % 7 === 0 ? 1000 : 0));
await Promise.all(
  Array.from({ length: ${requests} }, async (_, request) => {
    const id = String(request);
    const kept = (await journal.requests()).some(({ record }) => record.id === id);
    if (!kept) await journal.begin({ id, handle: id, model: 'm', startedMs: 1, deadlineMs: 2, asked: '{}' });
    let number = (await journal.entries(id)).length;
    let told = number;
    for (let at = 0; ; at++) {
      const count = 1 + ((at + request) % 3);
      const entries = Array.from({ length: count }, () => bytes(number++));
      const upTo = number;
      const appended = journal.append(id, entries).then(() => {
        for (; told < upTo; told++) process.stdout.write(id + ' ' + told + '\\n');
      });
      if (at % 4 === 3) await appended;
    }
  }),
);
`;

/** Runs it until it has told so many lines, then kills it; the last number that each request was told of. */
async function killedAfter(directory: string, lines: number): Promise<ReadonlyMap<string, number>> {
  const process = spawn(globalThis.process.execPath, ['--input-type=module', '-e', child, directory], {
    cwd: import.meta.dirname,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const told = new Map<string, number>();
  const exited = once(process, 'exit');
  let left = lines;
  for await (const line of createInterface({ input: process.stdout })) {
    const [request = '', number = ''] = line.split(' ');
    told.set(request, Number(number));
    // What it wrote before it died is read all the same.
    if (--left === 0) process.kill('SIGKILL');
  }
  const [, signal] = (await exited) as [number | null, string | null];
  expect(signal).toBe('SIGKILL');
  return told;
}

let remove: () => Promise<void> = () => Promise.resolve();
afterEach(() => remove());

it('has all that it said it had, whenever its process is killed', async () => {
  const at = await embeddedPlace();
  remove = () => at.remove();
  for (let round = 0; round < 15; round++) {
    const told = await killedAfter(at.directory, 1 + ((round * 7919) % 150));
    const journal = await at.open(bounds);
    const kept = await journal.requests();
    for (const id of told.keys()) expect(kept.map(({ record }) => record.id)).toContain(id);
    for (const { record } of kept) {
      const numbers = (await journal.entries(record.id)).map((entry) =>
        Number(Buffer.from(entry).toString()),
      );
      expect(numbers).toEqual(numbers.map((_, at) => at));
      expect(numbers.length).toBeGreaterThan(told.get(record.id) ?? -1);
    }
    await journal.close();
  }
});
