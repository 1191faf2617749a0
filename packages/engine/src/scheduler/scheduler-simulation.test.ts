import { greedySampling, type StepSequence } from '@butterfly/wire';
import { expect, it } from 'vitest';
import { FakePipeline, randomSource, vocabulary } from '../testing/fake-pipeline.js';
import { type SimulatedModel, randomConfig, randomModel } from '../testing/random-config.js';
import { check, checkOutput, type Client, inOrder } from '../testing/simulated-client.js';
import { Scheduler } from './scheduler.js';
import type { PlannedStep, SchedulerConfig, SchedulerRequest, SchedulerResult } from './scheduler-types.js';

const coverage = {
  restarts: 0,
  cachedStarts: 0,
  stateStarts: 0,
  stateRestarts: 0,
  sharedStates: 0,
  windowStarts: 0,
  roomMoves: 0,
  roomCopies: 0,
  copies: 0,
  splitSlides: 0,
  overtaken: 0,
  ahead: 0,
  aheadOfStages: 0,
  guessesConfirmed: 0,
  guessesRefuted: 0,
  repeats: 0,
  repeatsWithGuesses: 0,
  repeatedTwice: 0,
  scored: 0,
  scoredTwice: 0,
  droppedDuplicates: 0,
  rewinds: 0,
  ended: 0,
};

class Simulation {
  readonly #random;
  readonly #clients = new Map<number, Client>();
  readonly #guesses = new Map<number, number>();
  readonly #staleResults: SchedulerResult[] = [];
  readonly #model: SimulatedModel;
  readonly #scheduler: Scheduler;
  #config: Required<SchedulerConfig>;
  #pipeline: FakePipeline;
  #nowMs = 0;
  #unsubmitted: number;

  constructor(seed: number) {
    this.#random = randomSource(seed);
    this.#model = randomModel(this.#random);
    this.#unsubmitted = this.#random.between(2, this.#model.crowded ? 24 : 12);
    this.#config = randomConfig(this.#random, this.#model);
    this.#scheduler = new Scheduler(this.#config);
    this.#pipeline = this.#newPipeline(-1);
  }

  #newPipeline(garbage: number): FakePipeline {
    const { stages, arenaSlots, stateSlots, windows } = this.#config;
    const { windowTokens } = this.#model;
    return new FakePipeline(stages, arenaSlots, garbage, { stateSlots, windows, windowTokens });
  }

  run(): void {
    let actions = 0;
    while (this.#unsubmitted > 0 || this.#living().length > 0 || this.#scheduler.stats().inFlight > 0) {
      this.#act();
      actions += 1;
      check(actions < 100_000, () => 'starvation');
    }
    const { arenaSlots, arenaGranularity } = this.#config;
    const availableSlots = arenaSlots - (arenaSlots % arenaGranularity);
    expect(this.#scheduler.stats()).toMatchObject({ running: 0, waiting: 0, inFlight: 0, availableSlots });
    for (const client of this.#clients.values())
      if (checkOutput(client, this.#model.windowTokens)) coverage.ended += 1;
  }

  #act(): void {
    const random = this.#random;
    this.#nowMs += random.below(3);
    const kind = random.below(1000);
    if (kind < 2) this.#rewind();
    else if (kind < 10) this.#expire();
    else if (kind < 15) this.#deliverStale();
    else if (kind < 24) this.#cancel();
    else if (kind < 100) this.#submit();
    else if (kind < 350) this.#nextStep();
    else if (kind < 550) this.#deliver();
    else this.#pipeline.advance(random.below(this.#pipeline.stages));
  }

  #submit(): void {
    if (this.#unsubmitted === 0) return;
    this.#unsubmitted -= 1;
    const random = this.#random;
    const promptTokens = this.#prompt();
    const promptLength = promptTokens.length;
    const request: SchedulerRequest = {
      id: this.#clients.size,
      promptTokens,
      // Now and then the prompt alone is of interest.
      outputTokensMax:
        random.below(10) === 0
          ? 0
          : random.between(this.#model.crowded ? 4 : 1, this.#model.contextTokensMax - promptLength),
      logprobs: random.below(3) === 0 ? random.below(4) : null,
      promptLogprobs: random.below(4) === 0 ? random.below(4) : null,
      sampling: {
        ...greedySampling,
        repeatPenalty: random.between(1, 2),
        penaltyLastN: random.below(3) === 0 ? random.below(8) : 64,
        seed: this.#model.guesses ? 4 * random.below(250) + 1 : random.below(1000),
      },
      stopTokens: new Set(random.below(2) === 0 ? [] : [3, 5]),
      priority: random.below(2) === 0 ? random.between(-1, 1) : 0,
      nowMs: this.#nowMs,
      deadlineMs: this.#nowMs + (random.below(10) === 0 ? random.below(300) : 1e9),
    };
    const rank = Math.min(request.nowMs + request.priority * 10_000, request.deadlineMs - 10_000);
    for (const other of this.#living())
      if (inOrder({ request, rank }, other) < 0) {
        other.servedAsFirst = false;
        coverage.overtaken += 1;
      }
    this.#clients.set(request.id, {
      request,
      output: [],
      logprobs: [],
      told: [],
      end: null,
      rank,
      scheduled: -1,
      decodedFrom: Infinity,
      repeatedFrom: -1,
      seen: false,
      servedAsFirst: false,
    });
    this.#scheduler.submit(request);
  }

  /** Of any length; often it begins as others do, as the same prompt again does, or as the next turn of a chat. */
  #prompt(): Int32Array {
    const random = this.#random;
    const others = this.#model.crowded
      ? undefined
      : this.#clients.get(random.below(2 * this.#clients.size + 1));
    if (others) {
      const known = [...others.request.promptTokens, ...others.output];
      const length = Math.min(
        this.#model.contextTokensMax - 1,
        Math.max(1, known.length + random.between(-3, 6)),
      );
      return Int32Array.from({ length }, (_, index) => known[index] ?? random.below(vocabulary));
    }
    const length = random.between(1, this.#model.crowded ? 4 : this.#model.contextTokensMax - 1);
    const topic = random.below(3);
    const sharedTokens = random.between(0, length);
    return Int32Array.from({ length }, (_, index) =>
      index < sharedTokens ? (topic * 7 + index) % vocabulary : random.below(vocabulary),
    );
  }

  /** Those that have not ended, in the order in which they are to be served. */
  #living(): Client[] {
    return [...this.#clients.values()].filter(({ end }) => end === null).sort(inOrder);
  }

  #cancel(): void {
    const living = this.#living();
    // Often the first: it makes room for one that was just preempted while its tokens are still under way.
    const client = living[this.#random.below(this.#model.crowded ? 2 : Math.max(1, living.length))];
    if (client === undefined) return;
    check(this.#scheduler.cancel(client.request.id), () => 'a living sequence was unknown');
    check(!this.#scheduler.cancel(client.request.id), () => 'a sequence ended twice');
    client.end = 'cancelled';
  }

  #expire(): void {
    for (const event of this.#scheduler.expire(this.#nowMs)) {
      const client = this.#client(event.id);
      check(event.kind === 'expired' && client.request.deadlineMs <= this.#nowMs, () => 'expired too early');
      client.end = 'expired';
    }
    check(
      this.#living().every(({ request }) => request.deadlineMs > this.#nowMs),
      () => 'not expired',
    );
  }

  #rewind(): void {
    coverage.rewinds += 1;
    this.#staleResults.push(...this.#pipeline.results);
    if (this.#random.below(2) === 0) this.#scheduler.rewind();
    else {
      this.#config = randomConfig(this.#random, this.#model);
      this.#scheduler.reconfigure(this.#config);
    }
    this.#pipeline = this.#newPipeline(this.#nowMs);
    for (const client of this.#clients.values()) {
      client.scheduled = -1;
      client.servedAsFirst = false;
    }
  }

  #deliverStale(): void {
    const result = this.#staleResults.shift();
    if (result)
      check(this.#scheduler.complete(result, this.#nowMs).length === 0, () => 'a fenced result counted');
  }

  #nextStep(): void {
    const step = this.#scheduler.nextStep(this.#nowMs);
    if (step === null) {
      const idle = this.#scheduler.stats().inFlight === 0 && this.#living().length > 0;
      check(!idle, () => 'nothing in flight and yet nothing to do');
      return;
    }
    check(
      this.#scheduler.stats().inFlight <= this.#config.stages + (this.#config.goesAhead ? 1 : 0),
      () => 'too many steps in flight',
    );
    this.#checkShape(step);
    this.#checkTokens(step);
    this.#pipeline.push(step);
  }

  #checkShape(step: PlannedStep): void {
    const { arenaSlots, arenaGranularity, stepRowsMax } = this.#config;
    check(step.tokens.length > 0 && step.tokens.length <= stepRowsMax, () => 'rows over the budget');
    for (const { fromSlot, toSlot, slots } of step.copies) {
      check(Math.abs(fromSlot - toSlot) >= slots && slots > 0, () => 'a copy overlaps itself');
      check(
        Math.min(fromSlot, toSlot) >= 0 && Math.max(fromSlot, toSlot) + slots <= arenaSlots,
        () => 'a wild copy',
      );
    }
    coverage.copies += step.copies.length;
    coverage.splitSlides += step.copies.filter(
      (copy, index) =>
        copy.fromSlot === (step.copies[index - 1]?.fromSlot ?? -1) + (step.copies[index - 1]?.slots ?? 0),
    ).length;
    const read = step.sequences.flatMap(({ state }) => (state && state.from > 0 ? [state.from] : []));
    coverage.sharedStates += read.length - new Set(read).size;
    this.#countRooms(step);
    const regions = [...step.sequences].sort((a, b) => a.regionStart - b.regionStart);
    let end = 0;
    for (const { regionStart, regionSlots, positionStart, rows } of regions) {
      check(
        regionStart >= end && regionStart % arenaGranularity === 0,
        () => 'regions overlap or are not aligned',
      );
      check(
        regionSlots % arenaGranularity === 0 && positionStart + rows <= regionSlots,
        () => 'rows beside the region',
      );
      end = regionStart + regionSlots;
    }
    check(end <= arenaSlots, () => 'a region beyond the arena');
  }

  #countRooms({ sequences }: PlannedStep): void {
    for (const { window, positionStart } of sequences) {
      if (!window || positionStart === window.toFirst) continue;
      if (window.from !== window.to) coverage.roomCopies += 1;
      else if (window.fromFirst !== window.toFirst) coverage.roomMoves += 1;
    }
  }

  #checkTokens(step: PlannedStep): void {
    const [first] = this.#living();
    const seen = new Set<number>();
    let offset = 0;
    for (const sequence of step.sequences) {
      const { sequenceId, positionStart, rows, logitRows, sampling, draftTokens, scored } = sequence;
      const client = this.#client(sequenceId);
      const known = [...client.request.promptTokens, ...client.output];
      const end = positionStart + rows - draftTokens.length;
      const isAhead = positionStart === known.length;
      // Which step it reaches back to, the pipeline will show.
      const wanted = isAhead ? [Math.min(-1, step.tokens[offset] ?? 0)] : known.slice(positionStart, end);
      if (isAhead) coverage[this.#config.stages === 1 ? 'ahead' : 'aheadOfStages'] += 1;
      check(client.end === null && rows > draftTokens.length, () => 'an ended sequence was scheduled');
      check(
        [...wanted, ...draftTokens].join() === step.tokens.slice(offset, offset + rows).join(),
        () => 'wrong tokens',
      );
      check(
        logitRows === (end >= known.length ? 1 + draftTokens.length : 0) + (scored?.tokens.length ?? 0) &&
          (sampling !== null) === end >= known.length,
        () => 'wrong logits',
      );
      check(
        draftTokens.length === 0 ||
          draftTokens.length + client.output.length < client.request.outputTokensMax,
        () => 'guesses beyond the end',
      );
      this.#checkDecoded(client, sequence);
      if (positionStart !== client.scheduled && !sequence.isDecoded) this.#checkStart(client, sequence);
      if (client === first) client.servedAsFirst = true;
      client.scheduled = end;
      this.#guesses.set(sequenceId, draftTokens.length);
      seen.add(sequenceId);
      offset += rows;
    }
    check(
      offset === step.tokens.length && seen.size === step.sequences.length,
      () => 'a sequence comes twice',
    );
  }

  /** Rows are computed again as they were, and only before a token that is new. */
  #checkDecoded(client: Client, sequence: StepSequence): void {
    const { positionStart, draftTokens, sampling, state, isDecoded } = sequence;
    const knownRows = sequence.rows - draftTokens.length;
    if (positionStart !== client.scheduled && !isDecoded) client.decodedFrom = Infinity;
    if (isDecoded) {
      coverage.repeats += 1;
      if (draftTokens.length > 0) coverage.repeatsWithGuesses += 1;
      if (positionStart === client.repeatedFrom) coverage.repeatedTwice += 1;
      client.repeatedFrom = positionStart;
      check(
        state !== null && sampling !== null && knownRows > 1 && positionStart >= client.decodedFrom,
        () => 'rows are said to be decoded that were not',
      );
    } else if (knownRows === 1 && sampling !== null)
      client.decodedFrom = Math.min(client.decodedFrom, positionStart);
    else check(positionStart < client.decodedFrom, () => 'decoded rows are computed as a prompt');
    check(
      !isDecoded || sequence.rows <= 1 + this.#config.guessesMax,
      () => 'more is computed again than could be guessed',
    );
  }

  /** That what it takes for cached really is so, the tokens will show. */
  #checkStart(client: Client, { positionStart, state, window }: StepSequence): void {
    check(!client.servedAsFirst, () => 'the first in order was preempted');
    if (client.scheduled >= 0) coverage.restarts += 1;
    if (positionStart > 0) coverage.cachedStarts += 1;
    if (positionStart > 0 && state) coverage[client.scheduled >= 0 ? 'stateRestarts' : 'stateStarts'] += 1;
    if (positionStart > 0 && window) coverage.windowStarts += 1;
    client.seen = true;
    for (const other of this.#living())
      if (inOrder(other, client) < 0) check(other.seen, () => 'a later one overtook');
  }

  #deliver(): void {
    const result = this.#pipeline.results.shift();
    if (result === undefined) return;
    const events = this.#scheduler.complete(result, this.#nowMs);
    for (const { sequenceId, tokens, scored } of result.outputs) {
      if (scored) coverage.scored += scored.chosen.length;
      const told = events.filter(({ id, kind }) => id === sequenceId && kind === 'promptToken').length;
      if (scored && told < scored.chosen.length) coverage.scoredTwice += 1;
      if (tokens.length === 0) continue;
      const client = this.#client(sequenceId);
      const answered = events.some(({ id, kind }) => id === sequenceId && kind !== 'promptToken');
      if (client.end === null && !answered) coverage.droppedDuplicates += 1;
      coverage.guessesConfirmed += tokens.length - 1;
      if (tokens.length <= (this.#guesses.get(sequenceId) ?? 0)) coverage.guessesRefuted += 1;
    }
    for (const event of events) {
      const client = this.#client(event.id);
      check(client.end === null, () => 'an event after the end');
      check(
        event.kind !== 'expired' && event.kind !== 'failed' && event.kind !== 'embedding',
        () => `sequence ${event.id} ${event.kind}`,
      );
      if (event.kind === 'promptToken') {
        client.told.push({ token: event.token, logprobs: event.logprobs });
        continue;
      }
      if (event.kind === 'token') {
        client.output.push(event.token);
        if (event.logprobs) client.logprobs.push(event.logprobs);
        // A step that went ahead has computed the token already.
        const known = client.request.promptTokens.length + client.output.length;
        client.scheduled = client.scheduled === known ? known : known - 1;
      } else client.end = event.reason;
    }
  }

  #client(id: number): Client {
    const client = this.#clients.get(id);
    check(client !== undefined, () => `sequence ${id} is unknown`);
    return client;
  }
}

it('gives every sequence the tokens that it gives alone, whatever happens around it', () => {
  for (let seed = 0; seed < 2000; seed += 1)
    try {
      new Simulation(seed).run();
    } catch (error) {
      throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
    }
  // The traces must have gone through every narrow place.
  for (const [what, times] of Object.entries(coverage)) expect(times, what).toBeGreaterThan(10);
});
