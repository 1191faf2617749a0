import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Finding } from './fuzzer.js';
import type { Progress, ThreadMessage, ThreadOptions } from './thread-messages.js';

export interface TargetReport extends Progress {
  readonly target: string;
  readonly findings: readonly Finding[];
}

export type SuperviseOptions = Omit<ThreadOptions, 'shared'> & {
  readonly onFinding?: (finding: Finding) => void;
};

/** No input takes a second; on a laden machine one may wait. */
const inputDeadlineMs = 60_000;
/** Far above what any input may take. */
const heapMiB = 512;
const sharedBytes = 8 + 128 * 1024;
/** A target that fails so often needs mending first. */
const findingsMax = 25;
/** A package of this workspace, compiled: threads of Node run it. */
const thread = fileURLToPath(new URL('../../dist/fuzz-thread-main.js', import.meta.url));

const none: Progress = { inputs: 0, accepted: 0, slowestMs: 0, corpus: 0, characters: 0, seedCharacters: 0 };

/** Fuzzes one target in a thread of its own, which may hang or run out of memory, and is then begun anew. */
export async function superviseTarget(options: SuperviseOptions): Promise<TargetReport> {
  const findings: Finding[] = [];
  const onFinding = (finding: Finding): void => {
    findings.push(finding);
    options.onFinding?.(finding);
  };
  let total = none;
  for (let start = 0; ; start++) {
    const inputsMax = options.inputsMax - total.inputs;
    const seed = start === 0 ? options.seed : `${options.seed} ${start}`;
    const end = await runThread({ ...options, inputsMax, seed, onFinding });
    total = joined(total, end.progress);
    if (end.fatal === null || findings.length >= findingsMax)
      return { target: options.target, ...total, findings };
  }
}

function joined(before: Progress, now: Progress): Progress {
  return {
    inputs: before.inputs + now.inputs,
    accepted: before.accepted + now.accepted,
    slowestMs: Math.max(before.slowestMs, now.slowestMs),
    corpus: now.corpus,
    characters: Math.max(before.characters, now.characters),
    seedCharacters: now.seedCharacters,
  };
}

interface ThreadEnd {
  readonly progress: Progress;
  /** Why it ended early. */
  readonly fatal: string | null;
}

function runThread({
  onFinding,
  ...options
}: SuperviseOptions & { readonly onFinding: (finding: Finding) => void }): Promise<ThreadEnd> {
  const shared = new SharedArrayBuffer(sharedBytes);
  const place = new Int32Array(shared, 0, 2);
  const worker = new Worker(thread, {
    workerData: { ...options, shared } satisfies ThreadOptions,
    // What runs tests reads packages from source, which no thread can.
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: heapMiB },
  });
  let progress = none;
  let findings = 0;
  let isDone = false;
  let fatal: string | null = null;
  let last = { begun: -1, sinceMs: performance.now() };
  const watch = setInterval(() => {
    const begun = Atomics.load(place, 0);
    if (begun !== last.begun) last = { begun, sinceMs: performance.now() };
    else if (performance.now() - last.sinceMs > inputDeadlineMs && begun > 0) {
      fatal = `It was not through after ${inputDeadlineMs} ms.`;
      void worker.terminate();
    }
  }, 1000);
  worker.on('message', (message: ThreadMessage) => {
    if (message.kind !== 'finding') {
      progress = message;
      isDone ||= message.kind === 'done';
      return;
    }
    onFinding(message);
    if (++findings < findingsMax) return;
    fatal = 'It has too many findings.';
    void worker.terminate();
  });
  return new Promise((resolve, reject) => {
    worker.on('error', (error: Error) => (fatal = error.stack ?? error.message));
    worker.on('exit', () => {
      clearInterval(watch);
      if (isDone) {
        resolve({ progress, fatal: null });
        return;
      }
      const problem = fatal ?? 'Its thread ended.';
      if (Atomics.load(place, 0) === 0) {
        reject(new Error(`The thread for ${options.target} did not start: ${problem}`));
        return;
      }
      const length = Atomics.load(place, 1);
      if (findings < findingsMax)
        onFinding({ input: new Uint8Array(shared, place.byteLength, length).slice(), problem });
      resolve({ progress, fatal: problem });
    });
  });
}
