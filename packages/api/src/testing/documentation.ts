import { readFileSync } from 'node:fs';
import type { Fields } from '../fields/field-kinds.js';

const read = (name: string): string =>
  readFileSync(new URL(`../../../../docs/${name}`, import.meta.url), 'utf8');

export const documentation = read('api.md');
const otherDocumentation = read('other-apis.md');

/** The cells of the rows of the table whose header begins with this text, without their padding. */
export function documentedRows(firstHeader: string): string[][] {
  const [, after] = `${documentation}\n${otherDocumentation}`.split(
    new RegExp(`^\\| ${firstHeader} .*\n\\|[ |-]+\n`, 'm'),
  );
  if (after === undefined) throw new Error(`No page of the API has a table of the ${firstHeader}.`);
  const rows = after.slice(0, after.search(/^[^|]/m)).trim().split('\n');
  return rows.map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

/** The rows that a table of all fields of one endpoint has: name, values and default, or what becomes of it. */
export function rowsOfFields(fields: Fields): string[][] {
  return Object.entries(fields).map(([name, field]) => {
    switch (field.kind) {
      case 'honoured':
        return [`\`${name}\``, field.values, field.fallback];
      case 'withoutEffect':
        return [`\`${name}\``, 'without effect', ''];
      case 'refused':
        return [
          `\`${name}\``,
          `refused, but for ${['null', ...field.idle].map((json) => `\`${json}\``).join(', ')}`,
          '',
        ];
      default:
        return field satisfies never;
    }
  });
}
