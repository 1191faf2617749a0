import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ButterflyError, systemClock } from '@butterfly/common';
import { ConstraintHost } from '../masks/constraint-host.js';
import { accepts, byteVocabulary } from '../testing/index.js';
import { constraintGrammar } from './constraint-grammar.js';
import type { Json } from './constraint.js';

interface Case {
  readonly description: string;
  readonly schema: Json;
  readonly tests: readonly { readonly description: string; readonly data: Json; readonly valid: boolean }[];
}

const suite = join(
  dirname(createRequire(import.meta.url).resolve('json-schema-test-suite')),
  'tests',
  'draft4',
);
const files = readdirSync(suite).filter((name) => name.endsWith('.json'));
/** Files with keywords that answers are never held to: each case of them must be refused. */
const refused = [
  'not',
  'multipleOf',
  'uniqueItems',
  'dependencies',
  'patternProperties',
  'minProperties',
  'maxProperties',
];

/** The grammar of a schema, or the refusal. */
function grammarOf(schema: Json): string | ButterflyError {
  try {
    return constraintGrammar({ kind: 'schema', schema });
  } catch (error) {
    if (error instanceof ButterflyError) return error;
    throw error;
  }
}

describe('the test suite of JSON Schema', () => {
  const table = byteVocabulary();
  let host: ConstraintHost;
  beforeAll(() => {
    host = new ConstraintHost(systemClock);
    host.use(table);
  });
  afterAll(() => host.close());

  it.each(files)('%s: what is not refused is enforced', async (file) => {
    const cases = JSON.parse(readFileSync(join(suite, file), 'utf8')) as readonly Case[];
    for (const [index, { description, schema, tests }] of cases.entries()) {
      const grammar = grammarOf(schema);
      if (grammar instanceof ButterflyError) {
        expect(grammar.code, description).toMatch(/^REQUEST_/u);
        expect(grammar.param, description).toMatch(/^schema/u);
        continue;
      }
      expect(refused, description).not.toContain(file.replace('.json', ''));
      await host.prepare(index, grammar);
      for (const { description: test, data, valid } of tests)
        if (!valid)
          expect(
            await accepts(host, index, table, JSON.stringify(data)),
            `${description}: ${test} ${JSON.stringify(schema)}`,
          ).toBe(false);
      host.drop(index);
    }
  });

  it('finds most of its everyday keywords held to', () => {
    const everyday = ['type', 'enum', 'required', 'minLength', 'maxItems', 'pattern', 'additionalProperties'];
    for (const name of everyday) {
      const cases = JSON.parse(readFileSync(join(suite, `${name}.json`), 'utf8')) as readonly Case[];
      const held = cases.filter(({ schema }) => typeof grammarOf(schema) === 'string');
      expect(held.length, name).toBeGreaterThan(0);
    }
  });
});
