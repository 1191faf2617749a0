import { isColdPossible, measureColdStart } from './cold-start.js';
import { benchModel } from './models.js';
import type { BenchOptions } from './options.js';
import { printTable, writeResult } from './report.js';
import { measureMoved } from './weights-moved.js';

/** The speed at which weights are loaded from a disk, and the bytes that move when workers fetch them. */
export async function benchWeights({ model, threads, repeats }: BenchOptions): Promise<void> {
  const { name, path } = await benchModel(model);
  const isCold = isColdPossible();
  const speeds = await measureColdStart(path, threads, repeats);
  const { converting, image, disk } = speeds;
  printTable(
    `Loading ${name}, ${threads} threads, medians of ${repeats}, disk ${isCold ? 'cold' : 'NOT cold: only root may drop its cache'}`,
    ['load', 'MB/s', 'of the disk alone', 'to reach'],
    [
      ['from the model file, converted', converting / 1e6, converting / disk, ''],
      ['from the image that was kept', image / 1e6, image / disk, '0.8'],
      ['the disk alone', disk / 1e6, '', ''],
    ],
  );
  const moved = await measureMoved(path);
  printTable(
    'Bytes over the network to workers that have nothing',
    ['cluster', 'worker', 'shard MB', 'moved MB', 'of them from a peer', 'moved / shard', 'to reach'],
    moved.map((each) => [
      each.name,
      each.worker,
      each.shardBytes / 1e6,
      each.wireBytes / 1e6,
      each.peerBytes / 1e6,
      (each.wireBytes / each.shardBytes).toFixed(4),
      '1.02',
    ]),
  );
  writeResult('weights', { name, threads, repeats, isCold, speeds, moved });
}
