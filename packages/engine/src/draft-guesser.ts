import type { Clock } from '@butterfly/common';
import type { SamplingParams } from '@butterfly/wire';
import type { WantedGuesses, WantsGuesses } from './guesses/wanted-guesses.js';
import type { Engine, EngineModel, GenerateRequest, Generation } from './types.js';

/** Another model that guesses what a model will say. */
export interface DraftModel {
  /** Its engine, over workers of its own. */
  readonly engine: Engine & { readonly model: EngineModel };
  /** Tokens that both models know, from the first on: they mean the same in both. */
  readonly sharedTokens: number;
}

/** What came of asking for guesses. */
interface CameGuesses {
  readonly sequenceId: number;
  /** Known tokens behind which they are. */
  readonly atTokens: number;
  /** None where the draft had no answer. */
  readonly tokens: Int32Array;
}

interface Asked {
  readonly generation: Generation;
}

/**
 * Asks another model for guesses, through its engine as anybody would. It keeps what it computed of a text, so that a round
 * costs it the tokens that are new. Whatever happens to it, there is an answer within the time: at worst that there is none.
 */
export class DraftGuesser {
  /** The latest question of each sequence, as long as it is open. */
  readonly #asked = new Map<number, Asked>();
  #came: CameGuesses[] = [];
  #cancelWait: () => void = () => undefined;

  /** @param resume goes on with the steps: sequences wait no longer. Never called within a call of `ask`. */
  constructor(
    private readonly draft: DraftModel,
    private readonly drafting: WantsGuesses,
    private readonly clock: Clock,
    private readonly resume: () => void,
  ) {}

  /** Asks for what the scheduler wants now. */
  ask(): void {
    const { clock, drafting } = this;
    for (const wanted of drafting.wanted(clock.nowMs())) this.#ask(wanted);
    this.#cancelWait();
    const { dueMs } = drafting;
    this.#cancelWait =
      dueMs === null ? () => undefined : clock.after(Math.max(0, dueMs - clock.nowMs()), this.resume);
  }

  #ask(wanted: WantedGuesses): void {
    const { sequenceId, known } = wanted;
    this.forget(sequenceId);
    const asked = this.#submit(wanted);
    if (!asked) {
      this.#answer({ sequenceId, atTokens: known.length, tokens: new Int32Array(0) });
      return;
    }
    this.#asked.set(sequenceId, asked);
    // Nothing in it throws: failures come as events.
    void this.#collect(wanted, asked);
  }

  /** Its sequence has ended, or goes on elsewhere. */
  forget(sequenceId: number): void {
    const asked = this.#asked.get(sequenceId);
    this.#asked.delete(sequenceId);
    asked?.generation.cancel();
  }

  close(): void {
    this.#cancelWait();
    for (const sequenceId of [...this.#asked.keys()]) this.forget(sequenceId);
  }

  /** Null where the draft cannot be asked now. */
  #submit({ known, count, sampling, priority, tenant, timeoutMs }: WantedGuesses): Asked | null {
    const { engine, sharedTokens } = this.draft;
    if (!engine.status().ready || known.some((token) => token >= sharedTokens)) return null;
    const request: GenerateRequest = {
      promptTokens: known,
      outputTokensMax: count,
      sampling: draftSampling(sampling, sharedTokens),
      logprobs: null,
      promptLogprobs: null,
      // One that ends the text is a guess as well.
      stopTokens: new Set(),
      priority,
      tenant,
      timeoutMs,
    };
    try {
      return { generation: engine.submit(request) };
    } catch {
      // Its queue is full, or it shuts down: there are other ways to go on.
      return null;
    }
  }

  async #collect({ sequenceId, known, stopTokens }: WantedGuesses, asked: Asked): Promise<void> {
    const tokens: number[] = [];
    for await (const event of asked.generation) {
      if (event.kind !== 'token' || event.token >= this.draft.sharedTokens) break;
      tokens.push(event.token);
      if (stopTokens.has(event.token)) break;
    }
    if (this.#asked.get(sequenceId) !== asked) return;
    this.#asked.delete(sequenceId);
    this.#answer({ sequenceId, atTokens: known.length, tokens: Int32Array.from(tokens) });
  }

  /** Sequences that were asked for together are told of together, so that one step takes them all. */
  #answer(came: CameGuesses): void {
    this.#came.push(came);
    if (this.#came.length > 1) return;
    setImmediate(() => {
      const all = this.#came;
      this.#came = [];
      const nowMs = this.clock.nowMs();
      for (const { sequenceId, atTokens, tokens } of all)
        this.drafting.guessed(sequenceId, atTokens, tokens, nowMs);
      this.resume();
    });
  }
}

/**
 * The draft draws as the model does, with the same seed: draws depend on that and the position alone, so that likely
 * tokens of both are the same more often than the likeliest of one. What only makes steps larger is left out.
 */
function draftSampling(sampling: SamplingParams, sharedTokens: number): SamplingParams {
  const { logitBias } = sampling;
  const isKnown = logitBias?.tokens.every((token) => token < sharedTokens) ?? true;
  return { ...sampling, dry: null, logitBias: isKnown ? logitBias : null };
}
