import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '@butterfly/common';
import { constraintGrammar } from '../source/constraint-grammar.js';
import { byteVocabulary, sampledSequence, tokensOf } from '../testing/index.js';
import { ConstraintHost } from './constraint-host.js';
import { SequenceMasks } from './sequence-masks.js';

const table = byteVocabulary();
const [stop = 0] = table.stopTokens;
const byte = (character: string): number => character.charCodeAt(0);
const bytes = (text: string): Int32Array => Int32Array.from(Array.from(text, byte));

let host: ConstraintHost;
let masks: SequenceMasks;
beforeEach(async () => {
  host = new ConstraintHost(systemClock);
  host.use(table);
  await host.prepare(1, constraintGrammar({ kind: 'regex', pattern: 'abc+' }));
  masks = new SequenceMasks(host);
});
afterEach(() => host.close());

/** What may come next of a sequence, row by row. */
async function next(...step: Parameters<typeof sampledSequence>): Promise<number[][]> {
  masks.begin([sampledSequence(...step)]);
  return ((await masks.ready()).get(step[0]) ?? []).map(tokensOf);
}

const accept = (sequenceId: number, text: string): void =>
  masks.accept([{ sequenceId, tokens: bytes(text) }]);

describe('masks of sequences', () => {
  it('follow what is sampled, and allow an end only where there is one', async () => {
    expect(await next(7, 1, 0)).toEqual([[byte('a')]]);
    accept(7, 'a');
    expect(await next(7, 1, 1)).toEqual([[byte('b')]]);
    accept(7, 'b');
    await next(7, 1, 2);
    accept(7, 'c');
    expect(await next(7, 1, 3)).toEqual([[byte('c'), stop]]);
    masks.accept([{ sequenceId: 7, tokens: Int32Array.of(stop) }]);
    // A step that went ahead of the end.
    expect(await next(7, 1, 4)).toEqual([[stop]]);
  });

  it('begin anew from the tokens that a step brings', async () => {
    const constraint = { id: 1, start: 1, tokens: bytes('abc') };
    expect(await next(7, 1, 3, { constraint })).toEqual([[byte('c'), stop]]);
  });

  it('are there for each guess, and go back to what was confirmed', async () => {
    const drafted = { rows: 4, logitRows: 4, draftTokens: bytes('abx') };
    const rows = await next(7, 1, 0, drafted);
    expect(rows.slice(0, 3)).toEqual([[byte('a')], [byte('b')], [byte('c')]]);
    accept(7, 'abc');
    expect(await next(7, 1, 3)).toEqual([[byte('c'), stop]]);
  });

  it('are refused where the stage does not know the tokens or the constraint', async () => {
    expect(() => masks.begin([sampledSequence(7, 1, 5)])).toThrow('does not know the tokens');
    const unknown = { id: 9, start: 1, tokens: bytes('') };
    expect(() => masks.begin([sampledSequence(7, 1, 0, { constraint: unknown })])).toThrow(
      'does not hold the constraint 9',
    );
    await next(7, 1, 0);
    masks.accept([{ sequenceId: 7, tokens: new Int32Array(0) }]);
    expect(() => masks.begin([sampledSequence(7, 1, 2)])).toThrow('does not know the tokens');
  });
});

describe('the host of constraints', () => {
  it('refuses a grammar that is none, and goes on', async () => {
    await expect(host.prepare(2, 'root ::= "a')).rejects.toMatchObject({ code: 'COMPUTE_FAILED' });
    await host.prepare(3, constraintGrammar({ kind: 'json' }));
    expect(host.find(3)).not.toBeNull();
  });

  it('tells whoever waits for masks when their thread ends', async () => {
    masks.begin([sampledSequence(7, 1, 0)]);
    const told = expect(masks.ready()).rejects.toMatchObject({ code: 'COMPUTE_FAILED' });
    await host.find(1)?.thread.close();
    await told;
    expect(host.find(1)).toBeNull();
    await host.prepare(1, constraintGrammar({ kind: 'regex', pattern: 'x' }));
    masks = new SequenceMasks(host);
    expect(await next(8, 1, 0)).toEqual([[byte('x')]]);
  });

  it('wants the vocabulary first', async () => {
    const fresh = new ConstraintHost(systemClock);
    await expect(fresh.prepare(1, 'root ::= "a"')).rejects.toMatchObject({ code: 'PROTOCOL_INVALID' });
  });
});
