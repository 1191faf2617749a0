import { existsSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import type { Parameters } from './parameters.js';

/** Writes the weights and the state of the optimizer after a step; a stop in between leaves the earlier file. */
export async function saveCheckpoint(path: string, step: number, parameters: Parameters): Promise<void> {
  const parts = parameters.list.flatMap((one) => [one.tensor, one.momentum, one.variance]);
  const bytes = parts.map((tensor) => {
    const { buffer, byteOffset, byteLength } = parameters.values(tensor);
    return new Uint8Array(buffer, byteOffset, byteLength);
  });
  await writeFile(`${path}.new`, Buffer.concat([new Uint8Array(Float64Array.of(step).buffer), ...bytes]));
  await rename(`${path}.new`, path);
}

/** Reads what `saveCheckpoint` wrote. @returns the last finished step, 0 when there is no file */
export async function loadCheckpoint(path: string, parameters: Parameters): Promise<number> {
  if (!existsSync(path)) return 0;
  const file = await readFile(path);
  let offset = Float64Array.BYTES_PER_ELEMENT;
  for (const { tensor, momentum, variance } of parameters.list)
    for (const target of [tensor, momentum, variance].map((part) => parameters.values(part))) {
      const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
      if (offset + bytes.length > file.length) throw new RangeError(`${path} is of another model: delete it`);
      bytes.set(file.subarray(offset, offset + bytes.length));
      offset += bytes.length;
    }
  if (offset !== file.length) throw new RangeError(`${path} is of another model: delete it`);
  return file.readDoubleLE(0);
}
