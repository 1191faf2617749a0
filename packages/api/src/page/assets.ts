import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { ButterflyError } from '@butterfly/common';

/** A file of the page, in memory. */
export interface Asset {
  readonly type: string;
  readonly bytes: Buffer;
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/**
 * Reads the page once, so that no name of a request ever reaches the disk.
 * @returns by name; null where the page was not built
 */
export function readAssets(folder: string): ReadonlyMap<string, Asset> | null {
  if (!existsSync(join(folder, 'index.html'))) return null;
  return new Map(
    readdirSync(folder).map((name) => {
      const type = types[extname(name)];
      if (type === undefined)
        throw new ButterflyError('INTERNAL', `${name} in ${folder} is of no known type.`);
      return [name, { type, bytes: readFileSync(join(folder, name)) }];
    }),
  );
}
