import { deadlines } from '@butterfly/common';
import { SimulatedClock } from '@butterfly/testkit';
import { describe, expect, it } from 'vitest';
import { constraintGrammar } from '../source/constraint-grammar.js';
import { byteVocabulary, randomSchema } from '../testing/index.js';
import { MaskThread } from './mask-thread.js';

/** One that takes the better part of a second. */
const grammar = constraintGrammar({ kind: 'schema', schema: randomSchema(63) });

describe('grammars of one thread', () => {
  it('have each the time that they may take, whoever was before them', async () => {
    const clock = new SimulatedClock();
    const thread = new MaskThread(byteVocabulary(), clock);
    const [first, second] = [thread.compile(1, grammar), thread.compile(2, grammar)];
    await clock.advance(deadlines.constraintMs - 1);
    await first;
    await clock.advance(2);
    await second;
    expect(thread.isAlive).toBe(true);
    await thread.close();
  });

  it('are over with the thread when one takes too long', async () => {
    const clock = new SimulatedClock();
    const thread = new MaskThread(byteVocabulary(), clock);
    const failures = [thread.compile(1, grammar), thread.compile(2, grammar)].map((compiling) =>
      expect(compiling).rejects.toMatchObject({ code: 'COMPUTE_FAILED' }),
    );
    // The first begins in a turn of its own.
    await Promise.resolve();
    await clock.advance(deadlines.constraintMs + 1);
    await Promise.all(failures);
    expect(thread.isAlive).toBe(false);
  });
});
