import { ButterflyError, type Clock, type StepTime, limits } from '@butterfly/common';
import { cacheBytesPerSlot, shardTensors } from '@butterfly/model';
import type { Stage, StageRequest } from '@butterfly/stage';
import type { Machine, Profiler } from '@butterfly/worker';
import { FakeStage } from './fake-stage.js';

type MeasuredProfile = Awaited<ReturnType<Profiler>>;

/** What a simulated machine is like. */
export interface MachineTraits {
  readonly memoryBytes: number;
  /** Of one layer for one row. */
  readonly layerMicros: number;
  readonly diskBytesPerSecond: number;
  /** Between joining and having measured itself. */
  readonly profilingMs: number;
  readonly isBatchInvariant: boolean;
}

/** What is wrong with its disk. */
export type DiskTrouble = 'none' | 'fails' | 'slow' | 'hangs';

/** Buffers and the like that the planner counts for each worker that it uses. */
const overheadBytes = 128 * 2 ** 20;

/** A simulated machine: its speed and memory, and stages that take the time of both. A process on it begins anew. */
export class FakeMachine implements Machine {
  readonly profiler: Profiler;
  readonly stages: Machine['stages'];
  disk: DiskTrouble = 'none';
  /** Whether its stages give other numbers than they compute. */
  isLying = false;
  /** Of stages that are not disposed. */
  readonly #held = new Map<Stage, number>();
  /** Time of one layer by rows: what a row adds is a fourth of the first one. */
  readonly layerCurve: readonly StepTime[];
  readonly outputCurve: readonly StepTime[];

  constructor(
    readonly traits: MachineTraits,
    readonly clock: Clock,
    /** Told of what stages must never see. */
    readonly onViolation: (message: string) => void,
  ) {
    const { layerMicros } = traits;
    this.layerCurve = [1, 8, 64, 512].map((rows) => ({ rows, micros: layerMicros * (0.75 + 0.25 * rows) }));
    this.outputCurve = this.layerCurve.map(({ rows, micros }) => ({ rows, micros: micros / 2 }));
    this.profiler = () => this.#measure();
    this.stages = { create: (request) => this.#create(request) };
  }

  get stagesHeld(): number {
    return this.#held.size;
  }

  /** Whether it reads weights now. */
  get isLoading(): boolean {
    return [...this.#held.keys()].some((stage) => stage instanceof FakeStage && stage.isLoading);
  }

  released(stage: Stage): void {
    this.#held.delete(stage);
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.after(ms, resolve));
  }

  async #measure(): Promise<MeasuredProfile> {
    const { layerMicros, diskBytesPerSecond, profilingMs } = this.traits;
    await this.sleep(profilingMs);
    const { layerCurve, outputCurve } = this;
    const attentionMicros = { f16: layerMicros / 8, bf16: layerMicros / 9, q8_0: layerMicros / 10 };
    return { layerCurve, outputCurve, attentionMicros, diskBytesPerSecond };
  }

  #create(request: StageRequest): Stage {
    const { spec, range, arenaSlots, cacheType } = request;
    const tensors = shardTensors(spec, range.layerStart, range.layerEnd);
    const shardBytes = tensors.reduce((sum, { bytes }) => sum + bytes, 0);
    const arenaBytes = spec.attention
      .slice(range.layerStart, range.layerEnd)
      .reduce((sum, layer) => sum + cacheBytesPerSlot(layer, cacheType) * arenaSlots, 0);
    const heldBytes = [...this.#held.values()].reduce((sum, bytes) => sum + bytes, 0);
    const neededBytes = heldBytes + shardBytes + arenaBytes + overheadBytes;
    if (neededBytes > this.traits.memoryBytes) {
      this.onViolation(
        `stages of ${neededBytes} bytes on a machine of ${this.traits.memoryBytes}, ${this.#held.size} of them there before`,
      );
      throw new ButterflyError('COMPUTE_FAILED', 'The memory of the simulated machine is full.');
    }
    const stage = new FakeStage(request, { machine: this, shardBytes, arenaBytes });
    this.#held.set(stage, shardBytes + arenaBytes);
    if (this.#held.size > limits.shardsHeldMax) this.onViolation(`holds ${this.#held.size} shards`);
    return stage;
  }
}
