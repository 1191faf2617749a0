import fc from 'fast-check';
import { expect } from 'vitest';
import type { Journal } from '../journal.js';
import type { JournalPlace, TestBounds } from './describe-journal.js';
import { PlainJournal } from './plain-journal.js';
import { sampleRecord } from './samples.js';

type Call =
  | { readonly kind: 'begin'; readonly id: string; readonly asked: string }
  | { readonly kind: 'append'; readonly id: string; readonly entries: readonly Uint8Array[] }
  | { readonly kind: 'end'; readonly id: string; readonly endedMs: number }
  | { readonly kind: 'forget'; readonly id: string }
  | { readonly kind: 'look' }
  | { readonly kind: 'open again' };

const id = fc.constantFrom('a', 'b', 'c', 'd');
const entries = fc.array(fc.uint8Array({ maxLength: 12 }), { maxLength: 4 });
const call: fc.Arbitrary<Call> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('begin'), id, asked: fc.string({ unit: 'binary' }) }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('append'), id, entries }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('end'), id, endedMs: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('forget'), id }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'look' }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'open again' }) },
);

/** Does the same with a journal and a plain one, waiting for nothing but where it looks, and compares all that comes of it. */
export async function compareWithPlain(
  place: () => Promise<JournalPlace>,
  bounds: TestBounds,
): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.array(call, { maxLength: 40 }), async (calls) => {
      const at = await place();
      const plain = new PlainJournal();
      let journal = await at.open(bounds);
      let outcomes: Promise<readonly [string, string]>[] = [];
      const compare = async () => {
        for (const [real, expected] of await Promise.all(outcomes)) expect(real).toBe(expected);
        outcomes = [];
        expect(await everything(journal)).toEqual(await everything(plain));
      };
      for (const each of calls)
        switch (each.kind) {
          case 'look':
            await compare();
            break;
          case 'open again':
            await journal.close();
            journal = await at.open(bounds);
            break;
          default:
            outcomes.push(Promise.all([outcomeOf(journal, each), outcomeOf(plain, each)]));
        }
      await compare();
      await journal.close();
      await at.remove();
    }),
    { numRuns: 25 },
  );
}

async function everything(journal: Journal) {
  const requests = await journal.requests();
  return Promise.all(
    requests.map(async (kept) => ({ kept, entries: await journal.entries(kept.record.id) })),
  );
}

function outcomeOf(journal: Journal, each: Exclude<Call, { kind: 'look' | 'open again' }>): Promise<string> {
  return carryOut(journal, each).then(
    () => 'done',
    (error: unknown) => (error instanceof Error && 'code' in error ? String(error.code) : 'no code'),
  );
}

function carryOut(journal: Journal, each: Exclude<Call, { kind: 'look' | 'open again' }>): Promise<void> {
  switch (each.kind) {
    case 'begin':
      return journal.begin(sampleRecord(each.id, { asked: each.asked }));
    case 'append':
      return journal.append(each.id, each.entries);
    case 'end':
      return journal.end(each.id, each.endedMs);
    case 'forget':
      return journal.forget(each.id);
    default:
      return each satisfies never;
  }
}
