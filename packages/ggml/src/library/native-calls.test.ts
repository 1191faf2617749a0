import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { baseSymbols, cpuSymbols, ggmlSymbols, llamaSymbols } from './symbols.js';

const root = fileURLToPath(new URL('../../../../', import.meta.url));

/** Functions that sources of the product bind by a declaration in C, beside those of `symbols.ts`. */
function declaredInline(): string[] {
  const sources = readdirSync(`${root}packages`)
    // For tests only.
    .filter((name) => name !== 'testkit')
    .flatMap((name) => {
      const folder = `${root}packages/${name}/src`;
      return readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((file) => `${folder}/${file}`);
    })
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts'));
  return sources.flatMap((path) =>
    [...readFileSync(path, 'utf8').matchAll(/\.func\(\s*'[^']*?(\w+)\(/gu)].map(([, name = '']) => name),
  );
}

it('docs/native-calls.md has one row for each native function, and no other', () => {
  const text = readFileSync(`${root}docs/native-calls.md`, 'utf8');
  const documented = [...text.matchAll(/^\| `(\w+)` +\| \S.* \| \S.* \|$/gmu)].map(([, name]) => name);
  const symbols = { ...baseSymbols, ...ggmlSymbols, ...llamaSymbols, ...cpuSymbols };
  expect(documented.sort()).toEqual([...Object.keys(symbols), ...declaredInline()].sort());
});
