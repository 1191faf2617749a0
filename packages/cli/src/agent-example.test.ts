import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';
import { Butterfly } from './testing/butterfly.js';
import { model } from './testing/models.js';

it('the example with a tool calls it, and ends in words', async () => {
  // Where the packages of the workspace are found; installed.test.ts sees to its types.
  const program = fileURLToPath(new URL('../.cache/agent.mjs', import.meta.url));
  mkdirSync(dirname(program), { recursive: true });
  const source = readFileSync(new URL('../../../examples/agent.ts', import.meta.url), 'utf8');
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022 };
  writeFileSync(program, ts.transpileModule(source, { compilerOptions }).outputText);
  await using agent = new Butterfly([model], { program });
  expect(await agent.ended(), agent.stderr.join('\n')).toEqual({ code: 0, signal: null });
  const lines = agent.stdout.map((line) => JSON.parse(line) as object);
  const result = expect.stringMatching(/^[\d.]+ (?:celsius|fahrenheit)$/) as string;
  expect(lines[0]).toMatchObject({ name: 'weather', result });
  expect(lines.at(-1)).toEqual({ text: expect.any(String) as string });
});
