import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type Logger, toButterflyError } from '@butterfly/common';
import { type Device, usualDevice } from '@butterfly/ggml';
import type { WorkerProgram } from './local-workers.js';

/** Drivers compile nothing yet; those that hang are as good as none. */
const detectionTimeoutMs = 15_000;

/**
 * Where local workers compute if nobody says: on each graphics card, else on the CPU. Asked of a process of its own, since a
 * broken driver may end or hang whatever loads it.
 */
export async function usualLocalDevices(program: WorkerProgram, log: Logger): Promise<readonly string[]> {
  try {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [...process.execArgv, program.script, 'devices', '--json'],
      {
        env: { ...program.environment, BUTTERFLY_LOG: 'error' },
        timeout: detectionTimeoutMs,
        windowsHide: true,
      },
    );
    const devices = JSON.parse(stdout) as readonly Device[];
    const usual = usualDevice(devices);
    return devices.filter(({ kind }) => kind === usual.kind).map(({ name }) => name);
  } catch (thrown) {
    const { message } = toButterflyError(thrown);
    log.warn({ reason: message }, 'The devices of this machine could not be listed; going on with the CPU.');
    return ['cpu'];
  }
}
