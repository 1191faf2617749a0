import type { WorkerObserver } from '@butterfly/common';
import type { Ggml } from '@butterfly/ggml';
import type { ModelSpec } from '@butterfly/model';
import { SharedWeights, type StageFactory, StageRuntime } from '@butterfly/stage';
import type { MeasuredProfile } from '../profile/profile-cache.js';
import type { HostOffer } from '../profile/capabilities.js';
import { profileModel } from '../profile/profile-model.js';

/** Measures the machine of a worker on a model. */
export type Profiler = (spec: ModelSpec, isDeterministic: boolean) => Promise<MeasuredProfile>;

/** What computes in a worker: of this machine, or of a simulation. */
export interface Machine {
  readonly stages: StageFactory;
  readonly profiler: Profiler;
}

/**
 * ggml on a device of this machine. Its stages share the weights that they have in common.
 * @param options.directory where measurements are kept for the next time; null keeps none
 */
export function nativeMachine(options: {
  readonly ggml: Ggml;
  readonly threads: number;
  /** As `listDevices` calls it. */
  readonly device: string;
  readonly memoryBytes: number;
  /** Beside a device that is not the CPU: what it may take of the memory of this machine. */
  readonly host?: HostOffer;
  readonly directory: string | null;
  readonly observe: WorkerObserver;
}): Machine {
  const { ggml, threads, device, observe } = options;
  const shared = new SharedWeights();
  return {
    stages: { create: (request) => new StageRuntime({ ...request, ggml, threads, device, shared, observe }) },
    profiler: (spec, isDeterministic) => profileModel({ ...options, spec, isDeterministic }),
  };
}
