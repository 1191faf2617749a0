import { readFileSync } from 'node:fs';

const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));

/** Of this package, as in its package.json. */
export const version =
  typeof manifest === 'object' && manifest && 'version' in manifest && typeof manifest.version === 'string'
    ? manifest.version
    : '0.0.0';
