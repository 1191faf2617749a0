import { ButterflyError } from '@butterfly/common';
import type { Step, StepResult } from '@butterfly/wire';

/**
 * What the last stage sampled in the latest steps, for steps that go ahead of their tokens. A pure table, as large as
 * there are stages: no step reaches further back.
 */
export class SampledTokens {
  /** Last tokens by sequence, by step, oldest first. */
  readonly #steps = new Map<number, ReadonlyMap<number, number>>();
  #latestStepId = -1;

  constructor(private readonly stepsMax: number) {}

  /**
   * A step that samples is done; one that samples nothing need not be told.
   * @throws ButterflyError PROTOCOL_INVALID out of order
   */
  came({ stepId, outputs }: Pick<StepResult, 'stepId' | 'outputs'>): void {
    if (outputs.length === 0) return;
    if (stepId <= this.#latestStepId)
      throw new ButterflyError('PROTOCOL_INVALID', `The tokens of step ${stepId} came out of order.`);
    this.#latestStepId = stepId;
    this.#steps.set(
      stepId,
      // Of a sequence that failed, any token will do: nobody wants what comes of it. No step goes ahead of a prompt.
      new Map(outputs.map(({ sequenceId, tokens }) => [sequenceId, tokens.at(-1) ?? 0])),
    );
    for (const oldest of this.#steps.keys()) {
      if (this.#steps.size <= this.stepsMax) return;
      this.#steps.delete(oldest);
    }
  }

  /**
   * The payload of a step with the tokens that earlier steps sampled in place of `tokenOfStepBefore`; null while one of
   * these steps is under way. The payload itself where all its tokens are known.
   * @throws ButterflyError PROTOCOL_INVALID when a step awaits what no earlier one sampled
   */
  resolve({ stepId, sequences, payload }: Pick<Step, 'stepId' | 'sequences' | 'payload'>): Uint8Array | null {
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    let resolved: DataView | null = null;
    let offset = 0;
    for (const { sequenceId, rows } of sequences) {
      // A payload that is too short is for the stage to refuse.
      const token = offset + 4 <= view.byteLength ? view.getInt32(offset, true) : 0;
      if (token < 0) {
        const sampled = this.#sampled(stepId, -token, sequenceId);
        if (sampled === null) return null;
        resolved ??= new DataView(Uint8Array.from(payload).buffer);
        resolved.setInt32(offset, sampled, true);
      }
      offset += 4 * rows;
    }
    return resolved ? new Uint8Array(resolved.buffer) : payload;
  }

  /** Null while that step is under way. */
  #sampled(stepId: number, steps: number, sequenceId: number): number | null {
    const from = stepId - steps;
    const token = this.#steps.get(from)?.get(sequenceId);
    if (token !== undefined) return token;
    if (steps <= this.stepsMax && from >= 0 && from > this.#latestStepId) return null;
    throw new ButterflyError(
      'PROTOCOL_INVALID',
      `Step ${stepId} awaits a token of sequence ${sequenceId} that no step before it sampled.`,
    );
  }
}
