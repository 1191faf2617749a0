import { readFileSync } from 'node:fs';

/** The text of docs/api.md. */
export const documentation = readFileSync(new URL('../../../../docs/api.md', import.meta.url), 'utf8');

/** The cells of the rows of the table whose header begins with this word, without their padding. */
export function documentedRows(firstHeader: string): string[][] {
  const [, after] = documentation.split(new RegExp(`^\\| ${firstHeader} .*\n\\|[ |-]+\n`, 'm'));
  if (after === undefined) throw new Error(`docs/api.md has no table of the ${firstHeader}.`);
  const rows = after.slice(0, after.search(/^[^|]/m)).trim().split('\n');
  return rows.map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}
