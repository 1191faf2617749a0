import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';

// The same cases on every run: a failure on one machine is a failure on all. FC_SEED tries others.
fc.configureGlobal({ seed: Number(process.env['FC_SEED'] ?? 1) });

// Keys and certificates of tests are not those of whoever runs them: one folder for each run.
process.env['XDG_DATA_HOME'] = join(tmpdir(), `butterfly-tests-${process.ppid}`);
