import { fileURLToPath } from 'node:url';
import type { WorkerProgram } from 'butterfly';

/** The command itself, which `serve` and `generate` run once more for each local worker. */
export const workerProgram: WorkerProgram = {
  script: fileURLToPath(new URL('./main.js', import.meta.url)),
  environment: process.env,
};
