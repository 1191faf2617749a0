import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { ButterflyError } from '@butterfly/common';

const sampleBytes = 4096;
/** From here on a tensor is sampled in its midst and at its end, too. */
const bigTensorBytes = 64 * sampleBytes;
/** Reads under way at once: what a disk needs to answer scattered reads quickly. */
const readsAtOnce = 16;

interface Span {
  /** Byte offset in the file. */
  readonly offset: number;
  readonly bytes: number;
}

/**
 * SHA-256, in hex, over samples of every tensor of one file: tells files apart that have the same metadata and other
 * weights, as those of a fine-tune, and reads at most 12 KiB of each tensor.
 * @param tensors those of this file, in its order
 * @throws ButterflyError MODEL_TRUNCATED when the file ends before they do; else whatever the file system throws
 */
export async function sampleWeights(handle: FileHandle, tensors: readonly Span[]): Promise<string> {
  const hash = createHash('sha256');
  const spans = tensors.flatMap(spansOf);
  for (let at = 0; at < spans.length; at += readsAtOnce)
    for (const bytes of await Promise.all(
      spans.slice(at, at + readsAtOnce).map((span) => readSpan(handle, span)),
    ))
      hash.update(bytes);
  return hash.digest('hex');
}

function spansOf({ offset, bytes }: Span): Span[] {
  const span = (start: number): Span => ({ offset: offset + start, bytes: Math.min(sampleBytes, bytes) });
  if (bytes < bigTensorBytes) return [span(0)];
  return [span(0), span(Math.floor((bytes - sampleBytes) / 2)), span(bytes - sampleBytes)];
}

async function readSpan(handle: FileHandle, { offset, bytes }: Span): Promise<Uint8Array> {
  const target = new Uint8Array(bytes);
  for (let done = 0; done < bytes;) {
    const { bytesRead } = await handle.read(target, done, bytes - done, offset + done);
    if (bytesRead === 0)
      throw new ButterflyError('MODEL_TRUNCATED', 'The model file ends within a tensor; download it again.');
    done += bytesRead;
  }
  return target;
}
