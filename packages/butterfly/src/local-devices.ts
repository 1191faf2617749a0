import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { type Logger, toButterflyError } from '@butterfly/common';
import { type Device, usualDevices } from '@butterfly/ggml';
import { z } from 'zod';
import type { WorkerProgram } from './worker-processes.js';

/** Drivers compile nothing yet; those that hang are as good as none. */
const detectionTimeoutMs = 15_000;

/** What the kernel of Linux shows of cards: of any, of NVIDIA's, of AMD's for ROCm, and of those of Windows below WSL. */
const cardPaths = ['/dev/dri', '/dev/nvidia0', '/dev/nvidiactl', '/dev/kfd', '/dev/dxg'];

/**
 * Where local workers compute if nobody says: on each graphics card, else on the CPU.
 * @param log is told what keeps a card from use, and the remedy
 */
export async function usualLocalDevices(program: WorkerProgram, log: Logger): Promise<readonly string[]> {
  const cards = await localCards(program, log);
  return cards.length === 0 ? ['cpu'] : cards.map(({ name }) => name);
}

/**
 * The graphics cards of this machine that have a worker each if nobody says otherwise. Asked of a process of its own, since a
 * broken driver may end or hang whatever loads it.
 * @param log is told what keeps a card from use, and the remedy
 */
export async function localCards(program: WorkerProgram, log: Logger): Promise<readonly Device[]> {
  if (!mayHaveCards(program.environment)) return [];
  try {
    const { stdout, stderr } = await promisify(execFile)(
      process.execPath,
      [...process.execArgv, program.script, 'devices', '--json', '--log-format', 'json'],
      {
        env: { ...program.environment, BUTTERFLY_LOG: 'warn' },
        timeout: detectionTimeoutMs,
        windowsHide: true,
      },
    );
    for (const line of stderr.split('\n')) relay(line, log);
    const devices = JSON.parse(stdout) as readonly Device[];
    return usualDevices(devices).filter(({ kind }) => kind !== 'cpu');
  } catch (thrown) {
    const { message } = toButterflyError(thrown);
    log.warn({ reason: message }, 'The devices of this machine could not be listed; going on with the CPU.');
    return [];
  }
}

/** Software drivers count only where the environment names them, and builds of one's own may have other devices. */
function mayHaveCards(environment: WorkerProgram['environment']): boolean {
  if (process.platform !== 'linux') return true;
  const { GGML_VK_VISIBLE_DEVICES, BUTTERFLY_GGML_DIR } = environment;
  // Where there is no such folder, whoever loads the libraries says so.
  if (BUTTERFLY_GGML_DIR !== undefined) return existsSync(BUTTERFLY_GGML_DIR);
  if (GGML_VK_VISIBLE_DEVICES !== undefined) return true;
  return cardPaths.some((path) => existsSync(path));
}

const recordSchema = z.object({ msg: z.string(), file: z.string().optional() });

/** Says what the other process said. */
function relay(line: string, log: Logger): void {
  if (!line.startsWith('{')) return;
  const { data } = recordSchema.safeParse(JSON.parse(line));
  if (data) log.warn(data.file === undefined ? {} : { file: data.file }, data.msg);
}
