import { readFileSync } from 'node:fs';

const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

/** Of Butterfly, as in the package.json of each of its packages. */
export const packageVersion =
  typeof manifest === 'object' && manifest && 'version' in manifest && typeof manifest.version === 'string'
    ? manifest.version
    : '0.0.0';
