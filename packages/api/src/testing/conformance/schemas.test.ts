import { expect, it } from 'vitest';
import { dialects, schemaFile } from './dialects.js';
import { exceptions } from './exceptions.js';
import { SchemaMaker } from './generate.js';
import { conformanceErrors } from './validate.js';

const mostMs = 300_000;

it(
  'has the schemas of the types of the installed packages; -u writes them',
  async () => {
    const maker = new SchemaMaker();
    for (const dialect of Object.keys(dialects) as (keyof typeof dialects)[])
      await expect(maker.schemas(dialect)).toMatchFileSnapshot(schemaFile(dialect).pathname);
  },
  mostMs,
);

it('says what is wrong', () => {
  const model = { id: 'm', object: 'model', created: 1, owned_by: 'us' };
  expect(conformanceErrors('model', model)).toEqual([]);
  expect(conformanceErrors('model', { ...model, more: 1 })).toEqual([
    ' must NOT have additional properties {"additionalProperty":"more"}',
  ]);
  const delta = {
    type: 'response.output_text.delta',
    item_id: 'a',
    output_index: 0,
    content_index: 0,
    delta: '',
  };
  expect(conformanceErrors('responseEvent', { ...delta, logprobs: [], sequence_number: 0 })).toEqual([]);
  expect(conformanceErrors('responseEvent', { ...delta, logprobs: [] })).toEqual([
    ' must have required property \'sequence_number\' {"missingProperty":"sequence_number"}',
  ]);
});

it('has a reason for each exception', () => {
  for (const { definition, reason } of Object.values(exceptions).flat())
    expect([definition, reason.length > 10]).toEqual([definition, true]);
});
