import { fuzzCommand } from './fuzz-command.js';
import { fuzzVocabularies } from './vocabulary/fuzz.js';

const usage = `Usage: node chaos/dist/vocabulary-main.js [--cases N] [--seed TEXT] [--processes N]

Loads vocabularies that were changed at random and asks them, in child processes. Ends with 1 when one ended its process.
`;

await fuzzCommand({ usage, cases: 10_000 }, fuzzVocabularies, ({ fatal }) => fatal);
