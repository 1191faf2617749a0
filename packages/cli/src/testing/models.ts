import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A trained model of four layers and a context of 128 tokens. */
export const model = fileURLToPath(
  new URL('../../../../../shared/models/aidreams-260k.gguf', import.meta.url),
);

/** A folder that goes when it is disposed. */
export class Folder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'butterfly-test-'));

  write(name: string, content: Uint8Array | string): string {
    const path = join(this.path, name);
    writeFileSync(path, content);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true });
  }
}

/** The bytes of the model with every occurrence of a text replaced by one of the same length. */
export function patchedModel(from: string, to: string): Buffer {
  const bytes = readFileSync(model);
  if (Buffer.byteLength(from) !== Buffer.byteLength(to)) throw new Error('A patch must keep the length.');
  let at = bytes.indexOf(from);
  if (at < 0) throw new Error(`The model has no "${from}".`);
  for (; at >= 0; at = bytes.indexOf(from, at + 1)) bytes.write(to, at);
  return bytes;
}
