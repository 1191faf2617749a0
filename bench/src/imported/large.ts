import { fork } from 'node:child_process';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { architectureHeader, encodeGgufHeader } from '@butterfly/testkit';
import type { LargeResult } from './large-result.js';
import type { ImportedShape } from './shapes.js';

/** Layers of the stage whose graphs are built. */
const stageLayers = 8;

/**
 * A model of which there is only a header, as if it were opened, planned for and built on a worker: in a process of its own,
 * so that the memory is its own.
 */
export async function measureLarge({ fixture }: ImportedShape): Promise<LargeResult> {
  const folder = await mkdtemp(join(tmpdir(), 'butterfly-large-'));
  try {
    const path = join(folder, `${fixture.name}.gguf`);
    const { metadata, tensors, dataBytes } = architectureHeader(fixture, 'Q4_0');
    const header = encodeGgufHeader(metadata, tensors);
    await writeFile(path, header);
    // A file with a hole takes no room on the disk.
    await truncate(path, header.length + dataBytes);
    return await askChild(path);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function askChild(path: string): Promise<LargeResult> {
  const main = fileURLToPath(new URL('large-main.js', import.meta.url));
  const child = fork(main, [path, String(stageLayers)]);
  return new Promise((resolve, reject) => {
    child.once('message', (result) => resolve(result as LargeResult));
    child.once('error', reject);
    child.once('exit', (code, signal) =>
      reject(new Error(`The process that builds a large model ended with ${String(code ?? signal)}.`)),
    );
  });
}
