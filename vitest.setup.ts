import fc from 'fast-check';

// The same cases on every run: a failure on one machine is a failure on all. FC_SEED tries others.
fc.configureGlobal({ seed: Number(process.env['FC_SEED'] ?? 1) });
