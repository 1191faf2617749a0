import { expect, it } from 'vitest';
import { generateSchemas } from './generate.js';
import { conformanceErrors, exceptions, schemaFile } from './validate.js';

const mostMs = 300_000;

it(
  'has the schemas of the types of the installed package; -u writes them',
  async () => {
    await expect(generateSchemas()).toMatchFileSnapshot(schemaFile.pathname);
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
  for (const { definition, reason } of exceptions)
    expect([definition, reason.length > 10]).toEqual([definition, true]);
});
