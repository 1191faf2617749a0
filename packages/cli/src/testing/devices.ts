import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { cachedSyntheticModel } from '@butterfly/testkit';
import { run } from './butterfly.js';
import type { Folder } from './models.js';
import { Server, type Outcome } from './server.js';

/** Makes Mesa's software driver count as a graphics card, which needs `mesa-vulkan-drivers` of Debian. */
export const softwareCard = { GGML_VK_VISIBLE_DEVICES: '0' };

/** It ends its process now and then, which a server outlives, but not always with the device. */
export const driverTries = 3;

/** Its text follows from its tables alone, so that no last bit of any kernel can change it; the driver bears its width. */
export function circleModel(): Promise<string> {
  return cachedSyntheticModel({
    architecture: 'llama',
    layers: 4,
    hidden: 512,
    heads: 8,
    kvHeads: 4,
    headSize: 64,
    feedForward: 1024,
    vocabulary: 400,
    tiedEmbeddings: false,
    type: 'Q8_0',
    seed: 3,
    contextTrained: 1024,
    circleTokens: 24,
  });
}

/** What `butterfly devices` lists with that driver. */
export async function listedDevices(): Promise<readonly { readonly name: string; readonly kind: string }[]> {
  const { stdout } = await run(['devices', '--json'], softwareCard);
  return JSON.parse(stdout.join('\n')) as readonly { readonly name: string; readonly kind: string }[];
}

/** With a server of a model on these devices; again where a driver took its process along, which `use` tells by null. */
export async function withDevices<T>(
  path: string,
  names: string,
  args: readonly string[],
  use: (server: Server) => Promise<T | null>,
  environment: Readonly<Record<string, string>> = {},
): Promise<T> {
  for (let attempt = 1; attempt <= driverTries; attempt++) {
    await using server = new Server(['--device', names, '--ctx', '512', '--parallel', '2', ...args], {
      env: { ...softwareCard, ...environment },
      path,
    });
    await server.ready();
    const result = await use(server);
    if (result !== null) return result;
    console.log(`The driver ended its process; try ${attempt} of ${driverTries}.`);
  }
  throw new Error('the software driver ended its process each time');
}

/** Environment with which a driver reports the faults that `card-faults.c` tells of; null where no compiler is at hand. */
export function faultyDriver(folder: Folder): Readonly<Record<string, string>> | null {
  const library = `${folder.path}/card-faults.so`;
  const source = fileURLToPath(new URL('./card-faults.c', import.meta.url));
  try {
    execFileSync('cc', ['-shared', '-fPIC', '-o', library, source, '-ldl'], { stdio: 'pipe' });
  } catch {
    return null;
  }
  return { LD_PRELOAD: library };
}

/** Null where a worker died that nobody killed. */
export const ifUndisturbed = (server: Server, outcome: Outcome): Outcome | null =>
  server.records('A local worker ended.').length === 0 ? outcome : null;
