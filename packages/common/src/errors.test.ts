import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { errorTable } from './errors.js';

/** The rows of the table in docs/errors.md: code, HTTP status, exit code and meaning. */
function documentedErrors(): string[][] {
  const text = readFileSync(new URL('../../../docs/errors.md', import.meta.url), 'utf8');
  return [...text.matchAll(/^\| `([A-Z_]+)` *\| *(\d+) \| *(\d+) \| (.+?) *\|$/gmu)].map(
    ([, ...cells]) => cells,
  );
}

it('docs/errors.md lists every error code as it is, and no other', () => {
  const kinds = Object.entries(errorTable).map(([code, { httpStatus, exitCode, meaning }]) => [
    code,
    String(httpStatus),
    String(exitCode),
    meaning,
  ]);
  expect(documentedErrors()).toEqual(kinds);
});
