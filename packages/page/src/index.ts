import { fileURLToPath } from 'node:url';

/** The folder of the built page: `index.html`, and files whose names tell what is in them. */
export const assetsFolder: string = fileURLToPath(new URL('../dist/assets/', import.meta.url));

/**
 * With which a server sends all of it: the page has nothing but its own files, asks nobody but its own server, and lies in no frame
 * of another page.
 */
export const pageHeaders: Readonly<Record<string, string>> = Object.freeze({
  'content-security-policy': [
    "default-src 'none'",
    ...['script', 'style', 'img', 'font', 'connect'].map((kind) => `${kind}-src 'self'`),
    ...['frame-ancestors', 'base-uri', 'form-action'].map((kind) => `${kind} 'none'`),
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
});
