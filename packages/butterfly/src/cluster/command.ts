import { createRequire } from 'node:module';
import type { WorkerProgram } from '../worker-processes.js';

/** Of the package above this one: what is run as a worker is the command itself, a program and no import. */
const script = '@butterfly/cli/dist/main.js';

/** @param environment what workers inherit */
export function workerCommand(environment: WorkerProgram['environment']): WorkerProgram {
  // Of Node's options for this program, such as a loader or an inspector, none is meant for workers.
  return { script: createRequire(import.meta.url).resolve(script), execArgv: [], environment };
}
