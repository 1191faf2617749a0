import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Journal } from '../journal.js';
import { compareWithPlain } from './compare-with-plain.js';
import { bytesOf, noise, sampleRecord } from './samples.js';

/** What a journal keeps at most, in these tests. */
export interface TestBounds {
  readonly bytesMax: number;
  readonly requestsMax: number;
}

/** Where a journal lies that can be opened, closed and opened again; empty at first. */
export interface JournalPlace {
  open(bounds: TestBounds): Promise<Journal>;
  remove(): Promise<void>;
}

const mib = 1024 * 1024;
const roomy = { bytesMax: 64 * mib, requestsMax: 64 };
const failure = { code: 'JOURNAL_FAILED' };

/** What every journal must do. */
export function describeJournal(name: string, place: () => Promise<JournalPlace>): void {
  describe(name, () => {
    let at: JournalPlace;
    let journal: Journal;
    const openAgain = async (bounds: TestBounds = roomy) => {
      await journal.close();
      journal = await at.open(bounds);
    };

    beforeEach(async () => {
      at = await place();
      journal = await at.open(roomy);
    });

    afterEach(async () => {
      await journal.close();
      await at.remove();
    });

    it('keeps requests in the order in which they began', async () => {
      const records = ['c', 'a', 'b'].map((id) => sampleRecord(id));
      await Promise.all(records.map((record) => journal.begin(record)));
      await journal.end('a', 1_700_000_001_000);
      const kept = records.map((record) => ({
        record,
        endedMs: record.id === 'a' ? 1_700_000_001_000 : null,
      }));
      expect(await journal.requests()).toEqual(kept);
      await openAgain();
      expect(await journal.requests()).toEqual(kept);
      await journal.forget('c');
      await journal.begin(sampleRecord('d'));
      expect((await journal.requests()).map(({ record }) => record.id)).toEqual(['a', 'b', 'd']);
    });

    it('keeps entries of many requests in the order of each, however they are appended', async () => {
      const ids = Array.from({ length: 16 }, (_, at) => `request ${at}`);
      const appended = ids.map((id) => journal.begin(sampleRecord(id)));
      for (let round = 0; round < 40; round++)
        for (const [at, id] of ids.entries()) appended.push(journal.append(id, bytesOf(round, at)));
      await Promise.all(appended);
      const look = async () => {
        for (const [at, id] of ids.entries())
          expect(await journal.entries(id)).toEqual(
            bytesOf(...Array.from({ length: 40 }, (_, round) => [round, at]).flat()),
          );
      };
      await look();
      await openAgain();
      await look();
    });

    it('goes on with what it has when it is opened again', async () => {
      await journal.begin(sampleRecord('a'));
      await journal.append('a', bytesOf(1, 2));
      await openAgain();
      await journal.append('a', bytesOf(3));
      await openAgain();
      await journal.append('a', bytesOf(4));
      expect(await journal.entries('a')).toEqual(bytesOf(1, 2, 3, 4));
    });

    it('keeps entries of a mebibyte and of nothing', async () => {
      const entries = [noise(mib, 1), new Uint8Array(), noise(mib, 2), new Uint8Array(), new Uint8Array()];
      await journal.begin(sampleRecord('a', { asked: 'x'.repeat(mib) }));
      await journal.append('a', entries.slice(0, 3));
      await journal.append('a', []);
      await journal.append('a', entries.slice(3));
      await openAgain();
      const kept = await journal.entries('a');
      expect(kept.map(({ length }) => length)).toEqual([mib, 0, mib, 0, 0]);
      expect(kept.every((entry, at) => Buffer.compare(entry, entries[at] ?? entry) === 0)).toBe(true);
      expect((await journal.requests())[0]?.record.asked).toHaveLength(mib);
    });

    it('keeps a request before all that is appended to it, and forgets it after that', async () => {
      const done: string[] = [];
      await Promise.all([
        journal.begin(sampleRecord('a')).then(() => done.push('begun')),
        journal.append('a', bytesOf(1)).then(() => done.push('appended')),
        journal.end('a', 5).then(() => done.push('ended')),
        journal.forget('a').then(() => done.push('forgotten')),
      ]);
      expect(done).toEqual(['begun', 'appended', 'ended', 'forgotten']);
      expect(await journal.requests()).toEqual([]);
    });

    it('refuses an id that is kept, and what is of none', async () => {
      await journal.begin(sampleRecord('a', { asked: 'first' }));
      await expect(journal.begin(sampleRecord('a', { asked: 'second' }))).rejects.toMatchObject(failure);
      expect(await journal.requests()).toEqual([
        { record: sampleRecord('a', { asked: 'first' }), endedMs: null },
      ]);
      await expect(journal.append('b', bytesOf(1))).rejects.toMatchObject(failure);
      await expect(journal.append('b', [])).rejects.toMatchObject(failure);
      await expect(journal.end('b', 1)).rejects.toMatchObject(failure);
      await journal.forget('b');
      expect(await journal.entries('b')).toEqual([]);
    });

    it('takes nothing more of an answer that is over', async () => {
      await journal.begin(sampleRecord('a'));
      await journal.append('a', bytesOf(1));
      await journal.end('a', 7);
      await expect(journal.append('a', bytesOf(2))).rejects.toMatchObject(failure);
      await openAgain();
      await expect(journal.append('a', bytesOf(2))).rejects.toMatchObject(failure);
      expect(await journal.entries('a')).toEqual(bytesOf(1));
      expect(await journal.requests()).toEqual([{ record: sampleRecord('a'), endedMs: 7 }]);
    });

    it('begins anew with an id that was forgotten', async () => {
      await journal.begin(sampleRecord('a'));
      await journal.append('a', bytesOf(1, 2, 3));
      const forgotten = journal.forget('a');
      await journal.begin(sampleRecord('a', { asked: 'again' }));
      await journal.append('a', bytesOf(9));
      await forgotten;
      await openAgain();
      expect(await journal.entries('a')).toEqual(bytesOf(9));
      expect((await journal.requests()).map(({ record }) => record.asked)).toEqual(['again']);
    });

    it('keeps no more requests than it may', async () => {
      await openAgain({ ...roomy, requestsMax: 2 });
      await journal.begin(sampleRecord('a'));
      await journal.begin(sampleRecord('b'));
      await expect(journal.begin(sampleRecord('c'))).rejects.toMatchObject({ code: 'QUEUE_FULL' });
      await journal.forget('a');
      await journal.begin(sampleRecord('c'));
      await openAgain({ ...roomy, requestsMax: 2 });
      await expect(journal.begin(sampleRecord('d'))).rejects.toMatchObject({ code: 'QUEUE_FULL' });
    });

    it('keeps no more bytes than it may, and leaves no gap in an answer', async () => {
      const narrow = { ...roomy, bytesMax: mib };
      await openAgain(narrow);
      await journal.begin(sampleRecord('a'));
      await journal.begin(sampleRecord('b'));
      await journal.append('a', [noise(mib / 2, 1)]);
      await expect(journal.append('a', [noise(mib / 2, 2)])).rejects.toMatchObject(failure);
      await expect(journal.append('a', bytesOf(1))).rejects.toMatchObject(failure);
      await expect(journal.end('a', 1)).rejects.toMatchObject(failure);
      const large = sampleRecord('c', { asked: 'x'.repeat(mib / 2) });
      await expect(journal.begin(large)).rejects.toMatchObject({ code: 'QUEUE_FULL' });
      expect(await journal.entries('a')).toHaveLength(1);
      await journal.append('b', bytesOf(1));
      await journal.forget('a');
      await journal.begin(large);
      await openAgain(narrow);
      await expect(journal.append('b', [noise(mib / 2, 3)])).rejects.toMatchObject(failure);
    });

    it('does nothing when it is closed', async () => {
      await journal.begin(sampleRecord('a'));
      const appended = journal.append('a', bytesOf(1));
      await journal.close();
      await appended;
      await journal.close();
      for (const call of [
        () => journal.begin(sampleRecord('b')),
        () => journal.append('a', bytesOf(2)),
        () => journal.end('a', 1),
        () => journal.forget('a'),
        () => journal.requests(),
        () => journal.entries('a'),
      ])
        await expect(call()).rejects.toMatchObject(failure);
      journal = await at.open(roomy);
      expect(await journal.entries('a')).toEqual(bytesOf(1));
    });

    it('does whatever a plain one does', async () => {
      await compareWithPlain(place, roomy);
    });
  });
}
