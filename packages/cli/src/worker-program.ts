import { fileURLToPath } from 'node:url';
import type { WorkerProgram } from 'butterfly/process';

/** The command itself, which `serve`, `generate` and `worker` run once more for each worker. */
export const workerProgram: WorkerProgram = {
  script: fileURLToPath(new URL('./main.js', import.meta.url)),
  execArgv: process.execArgv,
  environment: process.env,
};
