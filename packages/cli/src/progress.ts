import { formatBytes, printableLine } from '@butterfly/common';
import type { WorkerView } from '@butterfly/orchestrator';
import type { Serving } from 'butterfly/command';
import { MultiBar, Presets, SingleBar } from 'cli-progress';
import { errorLine, tell } from './terminal.js';

const pollMs = 100;
const mebibyte = 2 ** 20;

/**
 * Waits until the orchestrator is ready, with a bar for each worker that loads (on a terminal only). False when the
 * end came first.
 * @throws ButterflyError when waiting is in vain.
 */
export async function waitUntilReady(serving: Serving, ending: Promise<unknown>): Promise<boolean> {
  const { models } = serving;
  const wait = { isOver: false };
  void ending.then(() => (wait.isOver = true));
  let told: string | undefined;
  const bars = process.stderr.isTTY
    ? new MultiBar(
        {
          format: '{name} layers {layers} [{bar}] {value}/{total} MiB',
          hideCursor: true,
          clearOnComplete: true,
          stream: process.stderr,
        },
        Presets.shades_classic,
      )
    : null;
  const known = new Map<string, SingleBar>();
  try {
    while (!models.status().ready) {
      if (wait.isOver) return false;
      const trouble = serving.checkTrouble();
      if (trouble && trouble.message !== told) tell(errorLine(trouble));
      told = trouble?.message;
      if (bars)
        for (const model of models.deployed)
          for (const worker of model.workers()) update(bars, known, model.id, worker);
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  } finally {
    bars?.stop();
  }
  return true;
}

function update(bars: MultiBar, known: Map<string, SingleBar>, modelId: string, worker: WorkerView): void {
  if (!worker.layers || worker.totalBytes === 0) return;
  const total = Math.ceil(worker.totalBytes / mebibyte);
  const fields = { name: printableLine(worker.name), layers: worker.layers.join('-') };
  const key = `${modelId} ${worker.workerId}`;
  const bar = known.get(key) ?? bars.create(total, 0, fields);
  known.set(key, bar);
  bar.update(Math.ceil(worker.loadedBytes / mebibyte), fields);
}

/** Shows how a file grows. */
export interface DownloadBar {
  /** Begins with a file, and gives what is to be told of its bytes. */
  start(name: string, totalBytes: number): (bytes: number) => void;
  stop(): void;
}

/** A bar on a terminal; elsewhere one line for each file. */
export function downloadBar(): DownloadBar {
  let bar: SingleBar | null = null;
  const stop = (): void => {
    bar?.stop();
    bar = null;
  };
  return {
    start: (name, totalBytes) => {
      stop();
      const total = formatBytes(totalBytes);
      if (!process.stderr.isTTY) {
        tell(`${printableLine(name)}: ${total}\n`);
        return () => undefined;
      }
      const started = new SingleBar(
        {
          format: '{name} [{bar}] {percentage}% of {size}, {eta_formatted} left',
          hideCursor: true,
          stream: process.stderr,
        },
        Presets.shades_classic,
      );
      started.start(totalBytes, 0, { name: printableLine(name), size: total });
      bar = started;
      return (bytes) => started.update(bytes);
    },
    stop,
  };
}

/** A line for each worker: its layers and memory. */
export function describeWorkers(workers: readonly WorkerView[]): string {
  const lines = workers.map(({ name, replica, layers, device, threads, report }) => {
    const where = replica === null ? '' : `replica ${replica}, `;
    const place = layers ? `layers ${layers[0]}-${layers[1]}` : 'no layers (spare)';
    const memory = report
      ? `, weights ${formatBytes(report.shardBytes)}, KV cache ${formatBytes(report.arenaBytes)}`
      : '';
    const computing =
      device === 'cpu' ? `${threads} thread${threads === 1 ? '' : 's'}` : printableLine(device);
    return `  ${printableLine(name)}: ${where}${place}, ${computing}${memory}`;
  });
  return lines.join('\n');
}
