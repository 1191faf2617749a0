import { limits } from '@butterfly/common';
import type { NativeBuffer } from '@butterfly/ggml';
import { type ModelTensor, tensorChunks } from '@butterfly/model';
import type { TensorSource } from '@butterfly/weights';

/** A tensor of the file, and what is to be done with its bytes. */
export type TensorTask = { readonly tensor: ModelTensor } & (
  | {
      /** The bytes stay as they are, in memory of the host. */
      readonly kind: 'inPlace';
      readonly target: (offset: number, bytes: number) => Uint8Array;
    }
  | {
      /** The bytes stay as they are, in memory of a device. */
      readonly kind: 'byRange';
      readonly write: (offset: number, bytes: Uint8Array) => void;
    }
  | {
      /** Takes the whole tensor out of a staging buffer. */
      readonly kind: 'whole';
      readonly place: (staging: NativeBuffer) => Promise<void>;
    }
);

/**
 * Reads tensors range by range, a few ranges at once and in the order of the tasks. While one tensor is taken out of its
 * staging buffer, the next ones are read into the others, so that disk, network and repacking overlap.
 * @param staging each as large as the largest tensor that needs one; with three, one is read while two are taken out,
 * each on a thread of its own
 * @returns how many milliseconds reading waited for staging buffers to be taken out
 * @throws what reading or placing throws first, once nothing is under way any more
 */
export async function loadTensors(options: {
  readonly tasks: readonly TensorTask[];
  readonly source: Pick<TensorSource, 'read'>;
  readonly staging: readonly NativeBuffer[];
  readonly onRead: (bytes: number) => void;
}): Promise<number> {
  const { source, onRead } = options;
  let waitedMs = 0;
  const free = options.staging.map((buffer) => Promise.resolve(buffer));
  const placing: Promise<void>[] = [];
  const reading = new Set<Promise<void>>();
  // As many as there may be reads at once, each as large as a range can be.
  const spare: ArrayBuffer[] = [];
  const failures: unknown[] = [];
  const fail = (error: unknown): void => void failures.push(error);

  for (const task of options.tasks) {
    const askedMs = performance.now();
    const staging = task.kind === 'whole' ? await free.shift() : null;
    waitedMs += performance.now() - askedMs;
    const reads: Promise<void>[] = [];
    for (const { offset, bytes } of tensorChunks(task.tensor)) {
      while (reading.size >= limits.fileFetchesInFlightMax) await Promise.race(reading);
      if (failures.length > 0) break;
      const target = targetOf(task, staging, { offset, bytes }, spare);
      const read: Promise<void> = source
        .read(task.tensor, offset, target)
        .then(() => {
          if (task.kind === 'byRange') {
            task.write(offset, target);
            spare.push(target.buffer as ArrayBuffer);
          }
          onRead(bytes);
        })
        .catch(fail)
        .finally(() => reading.delete(read));
      reading.add(read);
      reads.push(read);
    }
    if (failures.length > 0) break;
    if (!staging || task.kind !== 'whole') continue;
    const placed = Promise.all(reads)
      .then(() => (failures.length > 0 ? undefined : task.place(staging)))
      .catch(fail);
    placing.push(placed);
    free.push(placed.then(() => staging));
  }
  await Promise.all([...placing, ...reading]);
  if (failures.length > 0) throw failures[0];
  return waitedMs;
}

/** Where a range of a tensor is read to. */
function targetOf(
  task: TensorTask,
  staging: NativeBuffer | null | undefined,
  { offset, bytes }: { readonly offset: number; readonly bytes: number },
  spare: ArrayBuffer[],
): Uint8Array {
  switch (task.kind) {
    case 'inPlace':
      return task.target(offset, bytes);
    case 'byRange':
      return new Uint8Array(spare.pop() ?? new ArrayBuffer(limits.fileChunkBytesMax), 0, bytes);
    case 'whole':
      if (!staging) throw new RangeError('a tensor needs a staging buffer and there is none');
      return staging.view(offset, bytes);
    default:
      return task satisfies never;
  }
}
