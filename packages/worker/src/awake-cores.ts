import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { endianness } from 'node:os';
import type { Clock, WorkerObserver } from '@butterfly/common';

/** How long cores stay awake after a step; a token that takes longer does not notice how long they take to wake. */
const quietMs = 200;

/**
 * Idle states that are left within this many microseconds are no loss: C1 of x86 and WFI of Arm stop the clock of a core
 * alone. Deeper ones empty its caches and take 10 to 400 µs to leave.
 */
const wakeMicrosMax = 2;

export interface IdleSystem {
  /** Linux's request for short wakes, held while the file is open: Documentation/power/pm_qos_interface.rst. */
  readonly latencyFile: string;
  /** Names the driver of idle states. */
  readonly driverFile: string;
}

const linux: IdleSystem = {
  latencyFile: '/dev/cpu_dma_latency',
  driverFile: '/sys/devices/system/cpu/cpuidle/current_driver',
};

/**
 * Asks the system to keep its cores out of deep sleep while steps come and go. In a pipeline each stage mostly waits for
 * the others, its cores fall asleep, and each token pays for waking them at every stage. Where the system has no such
 * request, or does not let this process make it, all works as before.
 */
export class AwakeCores implements Disposable {
  #file: number | null = null;
  #latestMs = 0;
  #cancelCheck: () => void = () => undefined;
  /** False once the system refused, or when this is disposed. */
  #mayAsk = true;

  constructor(
    private readonly options: {
      readonly clock: Clock;
      readonly observe: WorkerObserver;
      readonly system?: IdleSystem;
    },
  ) {}

  /** Whether the request is made. */
  get isHeld(): boolean {
    return this.#file !== null;
  }

  /** A step has come, or was computed. */
  stepPassed(): void {
    this.#latestMs = this.options.clock.nowMs();
    if (this.#file === null && this.#mayAsk) this.#ask();
  }

  [Symbol.dispose](): void {
    this.#mayAsk = false;
    this.#release();
  }

  #ask(): void {
    const { system = linux, observe } = this.options;
    let file: number | null = null;
    try {
      file = openSync(system.latencyFile, 'r+');
      writeSync(file, wakeMicros(system));
      this.#file = file;
      this.#checkAfter(quietMs);
    } catch (thrown) {
      this.#mayAsk = false;
      if (file !== null) closeSync(file);
      const cause = thrown instanceof Error ? thrown.message : String(thrown);
      observe({ kind: 'coresMaySleep', cause });
    }
  }

  #checkAfter(delayMs: number): void {
    const { clock } = this.options;
    this.#cancelCheck = clock.after(delayMs, () => {
      const quietForMs = clock.nowMs() - this.#latestMs;
      if (quietForMs >= quietMs) this.#release();
      else this.#checkAfter(quietMs - quietForMs);
    });
  }

  #release(): void {
    this.#cancelCheck();
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
  }
}

/** An s32 in the order of this machine. */
function wakeMicros({ driverFile }: IdleSystem): Uint8Array {
  const bytes = new DataView(new ArrayBuffer(4));
  bytes.setInt32(0, haltsLeaveMachine(driverFile) ? 0 : wakeMicrosMax, endianness() === 'LE');
  return new Uint8Array(bytes.buffer);
}

/** Whether this is a virtual machine that calls halting cheap, while each halt goes to its host. */
function haltsLeaveMachine(driverFile: string): boolean {
  try {
    return readFileSync(driverFile, 'utf8').trim() === 'haltpoll';
  } catch {
    return false;
  }
}
