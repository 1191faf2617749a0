import { readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeJournal } from '../testing/describe-journal.js';
import { embeddedPlace } from '../testing/embedded-place.js';
import { bytesOf, noise, sampleRecord } from '../testing/samples.js';
import { keyBytes, sealed } from './layout.js';
import { LevelStore } from './level.js';

const mib = 1024 * 1024;
const roomy = { bytesMax: 64 * mib, requestsMax: 64 };

describeJournal('an embedded journal', embeddedPlace);

describe('the folder of an embedded journal', () => {
  let at: Awaited<ReturnType<typeof embeddedPlace>>;
  beforeEach(async () => {
    at = await embeddedPlace();
  });
  afterEach(() => at.remove());

  const filled = async () => {
    const journal = await at.open(roomy);
    const pieces = Array.from({ length: 16 }, (_, at) => noise(64 * 1024, at));
    for (const id of ['a', 'b', 'c', 'd']) {
      await journal.begin(sampleRecord(id));
      await Promise.all(pieces.map((piece) => journal.append(id, [piece])));
    }
    await journal.close();
    // What was in the log alone is in tables once it was opened again.
    await (await at.open(roomy)).close();
  };
  const refusal = (message: RegExp) => ({
    code: 'JOURNAL_FAILED',
    message: expect.stringMatching(message) as string,
  });
  /** Some of LevelDB's files may be of no use any more: what is harmed are all of a kind. */
  const harmed = (pattern: RegExp, harm: (path: string) => void) => {
    const names = readdirSync(at.directory).filter((name) => pattern.test(name));
    expect(names).not.toEqual([]);
    for (const name of names) harm(join(at.directory, name));
  };
  const bytesThere = () =>
    readdirSync(at.directory).reduce(
      (sum, name) => sum + (statSync(join(at.directory, name), { throwIfNoEntry: false })?.size ?? 0),
      0,
    );

  it.skipIf(process.platform === 'win32')('is for its user alone', async () => {
    await mkdir(at.directory, { mode: 0o755 });
    const journal = await at.open(roomy);
    expect(statSync(at.directory).mode & 0o777).toBe(0o700);
    await journal.close();
  });

  it('has one owner at a time', async () => {
    const journal = await at.open(roomy);
    await expect(at.open(roomy)).rejects.toMatchObject(
      refusal(/Another process has the journal in .*; end it/u),
    );
    await journal.begin(sampleRecord('a'));
    await journal.close();
    const next = await at.open(roomy);
    expect(await next.requests()).toHaveLength(1);
    await next.close();
  });

  it('does not grow by what was forgotten', async () => {
    const bounds = { bytesMax: mib, requestsMax: 16 };
    const journal = await at.open(bounds);
    const bytes = noise(mib, 1);
    let most = 0;
    let written = 0;
    for (let round = 0; round < 1000; round++) {
      const id = String(round);
      const entries = [
        bytes.subarray(0, 64),
        bytes.subarray(round, round + (round % 50 === 0 ? mib / 4 : 8 * 1024)),
      ];
      await journal.begin(sampleRecord(id));
      await Promise.all([journal.append(id, entries), journal.end(id, round)]);
      if (round >= 2) await journal.forget(String(round - 2));
      for (const { length } of entries) written += length;
      if (round % 20 === 0) most = Math.max(most, bytesThere());
    }
    expect(await journal.requests()).toHaveLength(2);
    await journal.close();
    expect(written).toBeGreaterThan(12 * mib);
    expect(most).toBeLessThan(4 * mib);
  });

  it('is refused where it holds something else', async () => {
    await mkdir(at.directory);
    writeFileSync(join(at.directory, 'letter.txt'), 'Dear');
    await expect(at.open(roomy)).rejects.toMatchObject(refusal(/holds what is no journal \("letter.txt"\)/u));
    expect(readFileSync(join(at.directory, 'letter.txt'), 'utf8')).toBe('Dear');
    rmSync(at.directory, { recursive: true });
    const other = await LevelStore.open(at.directory, mib);
    await other.write([{ type: 'put', key: Uint8Array.of(7), value: Uint8Array.of(1) }]);
    await other.close();
    await expect(at.open(roomy)).rejects.toMatchObject(refusal(/holds another database; name another one/u));
    rmSync(at.directory, { recursive: true });
    writeFileSync(at.directory, 'a file');
    await expect(at.open(roomy)).rejects.toMatchObject(refusal(/cannot be made or used; name another one/u));
  });

  it('is refused where another version wrote it', async () => {
    const key = keyBytes({ kind: 'version' });
    const other = await LevelStore.open(at.directory, mib);
    await other.write([{ type: 'put', key, value: sealed(key, 0, [Buffer.from('butterfly journal 9')]) }]);
    await other.close();
    await expect(at.open(roomy)).rejects.toMatchObject(
      refusal(/is of version 9, and this Butterfly reads 1/u),
    );
  });

  const harms: readonly (readonly [string, () => void])[] = [
    ['CURRENT is none', () => harmed(/^CURRENT$/u, (path) => writeFileSync(path, 'nothing'))],
    ['CURRENT is missing', () => harmed(/^CURRENT$/u, (path) => rmSync(path))],
    ['its list of files is none', () => harmed(/^MANIFEST/u, (path) => writeFileSync(path, 'nothing'))],
    ['files are missing', () => harmed(/\.ldb$/u, (path) => rmSync(path))],
    ['files are cut', () => harmed(/\.ldb$/u, (path) => truncateSync(path, 1000))],
    [
      'bytes of entries are others',
      () =>
        harmed(/\.ldb$/u, (path) => {
          const bytes = readFileSync(path);
          const middle = bytes.length >> 1;
          bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
          writeFileSync(path, bytes);
        }),
    ],
  ];
  it.each(harms)('is refused where %s', async (_, harm) => {
    await filled();
    harm();
    await expect(at.open(roomy)).rejects.toMatchObject(refusal(/journal in .* move it away/u));
    rmSync(at.directory, { recursive: true });
    const anew = await at.open(roomy);
    expect(await anew.requests()).toEqual([]);
    await anew.close();
  });

  it('loses the end of an answer with what came before it, and what came after a gap', async () => {
    const journal = await at.open(roomy);
    await journal.begin(sampleRecord('a'));
    for (const number of [1, 2, 3]) await journal.append('a', bytesOf(number));
    await journal.end('a', 5);
    await journal.begin(sampleRecord('b'));
    await journal.append('b', bytesOf(7));
    await journal.close();
    // What a loss of power may leave of a log that was never synced.
    const store = await LevelStore.open(at.directory, mib);
    await store.write([
      { type: 'del', key: keyBytes({ kind: 'entries', slot: 0, first: 1 }) },
      { type: 'del', key: keyBytes({ kind: 'record', slot: 1 }) },
    ]);
    await store.close();
    const next = await at.open(roomy);
    expect(await next.requests()).toEqual([{ record: sampleRecord('a'), endedMs: null }]);
    expect(await next.entries('a')).toEqual(bytesOf(1));
    await next.append('a', bytesOf(8, 9));
    await next.begin(sampleRecord('c'));
    expect(await next.entries('c')).toEqual([]);
    await next.close();
    const last = await at.open(roomy);
    expect(await last.entries('a')).toEqual(bytesOf(1, 8, 9));
    expect(await last.requests()).toMatchObject([{ endedMs: null }, { record: { id: 'c' } }]);
    await last.close();
  });
});
