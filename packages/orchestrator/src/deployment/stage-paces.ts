import type { Member } from '@butterfly/control';
import type { PlannedStep } from '@butterfly/engine';
import { type LayerKind, timedLayers } from '@butterfly/model';
import { type Plan, stageTime } from '@butterfly/planning';
import type { StepResult } from '@butterfly/wire';

/** Over how long the pace of a stage is averaged. */
const memoryMs = 10_000;
/** As so much time at most counts what one step shows, however long nothing ran before it. */
const stepMsMax = 500;
/** A step that was held up by something else counts as one that took so many times as long as predicted. */
const paceMax = 8;

interface StagePace {
  readonly workerId: string;
  /** By what the worker measured of itself when it joined. */
  readonly predictedMicros: (rows: number, logitRows: number) => number;
  /** How many times as long its steps take; null before the first. */
  pace: number | null;
}

/** How the stages of a live plan do beside what their workers measured of themselves; a function of its steps and the time. */
export class StagePaces {
  #stages: readonly StagePace[] = [];
  readonly #sent = new Map<number, { readonly rows: number; readonly logitRows: number }>();
  #lastMs = -Infinity;
  #busyMs = 0;

  /** @param kinds of the layers of the model that is planned for */
  begin(
    { stages }: Plan,
    kinds: readonly LayerKind[],
    profileOf: (workerId: string) => Member['profile'] | null,
  ): void {
    this.#sent.clear();
    this.#stages = stages.map((stage, index) => {
      const { workerId } = stage;
      const profile = profileOf(workerId);
      const isLast = index === stages.length - 1;
      const predictedMicros = profile
        ? stageTime(timedLayers(kinds, profile, stage), isLast ? profile.outputCurve : null)
        : () => 0;
      return { workerId, predictedMicros, pace: null };
    });
  }

  sent({ stepId, sequences, tokens }: PlannedStep): void {
    const logitRows = sequences.reduce((sum, each) => sum + each.logitRows, 0);
    this.#sent.set(stepId, { rows: tokens.length, logitRows });
  }

  came({ stepId, stageTimes }: Pick<StepResult, 'stepId' | 'stageTimes'>, nowMs: number): void {
    const step = this.#sent.get(stepId);
    this.#sent.delete(stepId);
    if (!step) return;
    const elapsedMs = Math.min(nowMs - this.#lastMs, stepMsMax);
    this.#lastMs = nowMs;
    this.#busyMs += elapsedMs;
    const weight = 1 - Math.exp(-elapsedMs / memoryMs);
    for (const [index, stage] of this.#stages.entries()) {
      const time = stageTimes[index];
      const predicted = stage.predictedMicros(step.rows, step.logitRows);
      if (!time || predicted === 0) continue;
      const pace = Math.min(paceMax, (time.computeMicros + time.hostMicros) / predicted);
      stage.pace = stage.pace === null ? pace : stage.pace + weight * (pace - stage.pace);
    }
  }

  /** By worker: how many times as long as it measured of itself its stage takes. */
  all(): ReadonlyMap<string, number> {
    return new Map(
      this.#stages.flatMap(({ workerId, pace }) => (pace === null ? [] : [[workerId, pace] as const])),
    );
  }

  /** Time with steps since the last call. */
  takeBusyMs(): number {
    const busyMs = this.#busyMs;
    this.#busyMs = 0;
    return busyMs;
  }

  /** What that makes of a step of one row; null where no step of it came. */
  rowMicros(workerId: string): number | null {
    const stage = this.#stages.find((each) => each.workerId === workerId);
    return stage?.pace ? stage.pace * stage.predictedMicros(1, 1) : null;
  }
}
