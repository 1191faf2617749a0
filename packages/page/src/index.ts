import { fileURLToPath } from 'node:url';

/** The folder of the built page: `index.html`, and files whose names tell what is in them. */
export const assetsFolder: string = fileURLToPath(new URL('../dist/assets/', import.meta.url));
