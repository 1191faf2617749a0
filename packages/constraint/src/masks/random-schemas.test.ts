import { Ajv2020 } from 'ajv/dist/2020.js';
import type { ValidateFunction } from 'ajv';
import formats from 'ajv-formats';
import { afterAll, describe, expect, it } from 'vitest';
import { systemClock } from '@butterfly/common';
import { constraintGrammar } from '../source/constraint-grammar.js';
import { byteVocabulary, randomAnswer, randomFrom, randomSchema } from '../testing/index.js';
import { ConstraintHost } from './constraint-host.js';

/** What is wrong with an answer, in words. */
function verdict(validate: ValidateFunction, text: string): string {
  try {
    return validate(JSON.parse(text)) ? 'valid' : JSON.stringify(validate.errors);
  } catch (error) {
    return String(error);
  }
}

/** `SCHEMAS=1000` with `--testTimeout 600000` tries a thousand, in two minutes on two cores. */
const schemas = Number(process.env.SCHEMAS ?? 30);
const answersOfEach = 2;

describe('random schemas', () => {
  const table = byteVocabulary();
  const host = new ConstraintHost(systemClock);
  host.use(table);
  afterAll(() => host.close());

  it('give answers that are valid, whatever tokens come of those that may', async () => {
    let ended = 0;
    for (let seed = 1; seed <= schemas; seed++) {
      const schema = randomSchema(seed);
      const ajv = new Ajv2020({ strict: false });
      formats.default(ajv);
      const validate = ajv.compile(schema);
      await host.prepare(seed, constraintGrammar({ kind: 'schema', schema }));
      const random = randomFrom(seed);
      for (let answer = 0; answer < answersOfEach; answer++) {
        const text = await randomAnswer(host, seed, table, { random, tokensMax: 1_500 });
        if (text === null) continue;
        ended++;
        expect(verdict(validate, text), `seed ${seed}: ${JSON.stringify(schema)}\n${text}`).toBe('valid');
      }
      host.drop(seed);
    }
    expect(ended).toBeGreaterThan(schemas * answersOfEach * 0.8);
  });
});
