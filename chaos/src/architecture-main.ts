import { fuzzArchitectures } from './architecture/fuzz.js';
import { fuzzCommand } from './fuzz-command.js';

const usage = `Usage: node chaos/dist/architecture-main.js [--cases N] [--seed TEXT] [--processes N]

Changes one key or tensor in the headers of models of all architectures and describes them as a server does. Ends with 1 when
one was neither described nor refused for a reason.
`;

await fuzzCommand({ usage, cases: 2_000 }, fuzzArchitectures, ({ wrong }) => wrong);
