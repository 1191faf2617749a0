import { parseArgs } from 'node:util';
import { stream } from './streams.js';

/** Asks a server for a text, from wherever this process may reach it: --url URL */
const { values } = parseArgs({ options: { url: { type: 'string', default: '' } } });
const { text, error } = await stream(values.url, 'Once upon a time', { tokens: 40, timeoutMs: 60_000 });
process.stdout.write(error === null ? `text ${JSON.stringify(text)}\n` : `error ${error}\n`);
process.exitCode = error === null ? 0 : 1;
