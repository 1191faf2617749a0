import { greedySampling } from '@butterfly/wire';
import { expect, it } from 'vitest';
import { FakePipeline, randomSource, reference, vocabulary } from '../testing/fake-pipeline.js';
import { type SimulatedModel, randomConfig, randomModel } from '../testing/random-config.js';
import { check } from '../testing/simulated-client.js';
import type { WantedGuesses } from '../guesses/wanted-guesses.js';
import { Scheduler } from './scheduler.js';
import type { PlannedStep, SchedulerConfig, SchedulerRequest } from './scheduler-types.js';

const coverage = {
  warmed: 0,
  asked: 0,
  confirmed: 0,
  refuted: 0,
  byLookup: 0,
  empty: 0,
  lost: 0,
  late: 0,
  missed: 0,
  othersWentOn: 0,
  besidePrompts: 0,
  rewoundWaiting: 0,
  cancelledWaiting: 0,
  stateRepeats: 0,
  ended: 0,
};

interface Client {
  readonly request: SchedulerRequest;
  readonly expected: readonly number[];
  readonly output: number[];
  isOver: boolean;
  /** Behind how many known tokens it was asked for last. */
  askedAt: number;
  /** Until when it waits for guesses. */
  waitsUntilMs: number | null;
  guesses: readonly number[];
}

/** An answer that is under way. */
interface Question {
  readonly client: Client;
  readonly atTokens: number;
  readonly count: number;
}

/** A scheduler over a pipeline with a real arena, and a draft that answers when it likes, what it likes, or not at all. */
class Simulation {
  readonly #random;
  readonly #clients = new Map<number, Client>();
  readonly #questions: Question[] = [];
  readonly #model: SimulatedModel;
  readonly #scheduler: Scheduler;
  /** Of a hundred guesses, how many are right; and of a hundred answers, how many come. */
  readonly #right: number;
  readonly #answered: number;
  #config: Required<SchedulerConfig>;
  #pipeline: FakePipeline;
  #nowMs = 0;
  #unsubmitted: number;

  constructor(seed: number) {
    const random = randomSource(seed);
    this.#random = random;
    this.#model = randomModel(random);
    this.#right = [10, 70, 100][random.below(3)] ?? 0;
    this.#answered = [50, 90, 100][random.below(3)] ?? 0;
    this.#unsubmitted = random.between(2, 8);
    this.#config = this.#newConfig();
    this.#scheduler = new Scheduler(this.#config);
    this.#pipeline = this.#newPipeline(-1);
  }

  #newConfig(): Required<SchedulerConfig> {
    const random = this.#random;
    const { contextTokensMax } = this.#model;
    return {
      ...randomConfig(random, this.#model),
      guessesMax: random.below(8) === 0 ? 0 : random.between(1, 8),
      draftTokensMax: random.below(4) === 0 ? random.between(1, contextTokensMax) : contextTokensMax,
    };
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
    expect(this.#scheduler.drafting.dueMs).toBeNull();
    const { confirmed, missed } = this.#scheduler.drafting.figures;
    coverage.confirmed += confirmed;
    coverage.missed += missed;
  }

  #act(): void {
    const random = this.#random;
    this.#nowMs += random.below(3);
    const kind = random.below(1000);
    if (kind < 2) this.#rewind();
    else if (kind < 6) this.#cancel();
    else if (kind < 60) this.#submit();
    else if (kind < 300) this.#nextStep();
    else if (kind < 450) this.#deliver();
    else if (kind < 600) this.#answer();
    else this.#pipeline.advance(random.below(this.#pipeline.stages));
  }

  #submit(): void {
    if (this.#unsubmitted === 0) return;
    this.#unsubmitted -= 1;
    const random = this.#random;
    const { contextTokensMax, crowded, windowTokens } = this.#model;
    const promptTokens = Int32Array.from({ length: random.between(1, crowded ? 4 : 12) }, () =>
      random.below(vocabulary),
    ).subarray(0, contextTokensMax - 1);
    const request: SchedulerRequest = {
      id: this.#clients.size,
      promptTokens,
      outputTokensMax: random.between(1, contextTokensMax - promptTokens.length),
      logprobs: null,
      promptLogprobs: null,
      sampling: {
        ...greedySampling,
        repeatPenalty: random.between(1, 2),
        penaltyLastN: random.below(3) === 0 ? random.below(8) : 64,
        seed: random.below(1000),
      },
      stopTokens: new Set(random.below(2) === 0 ? [] : [3, 5]),
      priority: 0,
      nowMs: this.#nowMs,
      deadlineMs: this.#nowMs + 1e9,
    };
    const { tokens: expected } = reference(request, windowTokens);
    const client = { request, expected, output: [], isOver: false, askedAt: -1, waitsUntilMs: null };
    this.#clients.set(request.id, { ...client, guesses: [] });
    this.#scheduler.submit(request);
  }

  #living(): Client[] {
    return [...this.#clients.values()].filter(({ isOver }) => !isOver);
  }

  #cancel(): void {
    const living = this.#living();
    const client = living[this.#random.below(Math.max(1, living.length))];
    if (!client) return;
    if (client.waitsUntilMs !== null) coverage.cancelledWaiting += 1;
    check(this.#scheduler.cancel(client.request.id), () => 'a living sequence was unknown');
    client.isOver = true;
  }

  #rewind(): void {
    for (const client of this.#clients.values()) {
      if (client.waitsUntilMs !== null && !client.isOver) coverage.rewoundWaiting += 1;
      client.waitsUntilMs = null;
    }
    if (this.#random.below(2) === 0) this.#scheduler.rewind();
    else {
      this.#config = this.#newConfig();
      this.#scheduler.reconfigure(this.#config);
    }
    this.#pipeline = this.#newPipeline(this.#nowMs);
  }

  #nextStep(): void {
    this.#want();
    const { inFlight, waiting } = this.#scheduler.stats();
    const step = this.#scheduler.nextStep(this.#nowMs);
    const waits = this.#living().filter(({ waitsUntilMs }) => waitsUntilMs !== null).length;
    if (step === null) {
      // Those that wait for guesses may hold what the others need, as those that await tokens do.
      const isAwaited = inFlight > 0 || this.#scheduler.drafting.dueMs !== null;
      check(isAwaited || this.#living().length === 0, () => 'nothing is awaited and yet nothing to do');
      return;
    }
    if (waits > 0) coverage.othersWentOn += 1;
    this.#checkStep(step, waiting > 0);
    this.#pipeline.push(step);
    this.#want();
  }

  #want(): void {
    for (const wanted of this.#scheduler.drafting.wanted(this.#nowMs)) this.#checkWanted(wanted);
    for (const client of this.#living())
      if (client.waitsUntilMs !== null && client.waitsUntilMs <= this.#nowMs) client.waitsUntilMs = null;
    const { dueMs } = this.#scheduler.drafting;
    const waits = this.#living().flatMap(({ waitsUntilMs }) => waitsUntilMs ?? []);
    // Whoever lost its region meanwhile waits for that.
    check(
      dueMs === null || (dueMs > this.#nowMs && waits.includes(dueMs)),
      () => `what is due at ${dueMs ?? 'no time'} is waited for until ${waits.join()}`,
    );
  }

  #checkWanted({ sequenceId, known, count, timeoutMs }: WantedGuesses): void {
    const { guessesMax, draftTokensMax } = this.#config;
    const client = this.#client(sequenceId);
    const { promptTokens, outputTokensMax } = client.request;
    check(!client.isOver && client.waitsUntilMs === null, () => 'guesses are wanted for nobody, or twice');
    const wholeTokens = promptTokens.length + client.output.length;
    const isPrompt = known.length === wholeTokens && timeoutMs > 10_000;
    check(
      known.join() === [...promptTokens, ...client.output].join(),
      () => 'guesses are wanted behind other tokens',
    );
    check(
      count > 0 && count <= guessesMax && known.length + count <= draftTokensMax,
      () => 'too many guesses are wanted',
    );
    check(
      isPrompt || client.output.length + count < outputTokensMax,
      () => 'guesses are wanted beyond the end',
    );
    this.#questions.push({ client, atTokens: known.length, count });
    if (isPrompt) {
      coverage.warmed += 1;
      return;
    }
    check(known.length > client.askedAt && timeoutMs <= 1000, () => 'it is asked twice, or for ever');
    coverage.asked += 1;
    client.askedAt = known.length;
    client.waitsUntilMs = this.#nowMs + timeoutMs;
  }

  /** Any of the questions is answered, the right one or not. */
  #answer(): void {
    const random = this.#random;
    const [question] = this.#questions.splice(random.below(Math.max(1, this.#questions.length)), 1);
    if (!question) return;
    const { client, atTokens, count } = question;
    if (random.below(100) >= this.#answered) {
      coverage.lost += 1;
      return;
    }
    const from = atTokens - client.request.promptTokens.length;
    const isEmpty = random.below(10) === 0;
    const tokens = isEmpty
      ? []
      : Array.from({ length: count }, (_, index) =>
          random.below(100) < this.#right ? (client.expected[from + index] ?? 5) : random.below(vocabulary),
        );
    const isAwaited = client.waitsUntilMs !== null && client.askedAt === atTokens && !client.isOver;
    if (isEmpty) coverage.empty += 1;
    else if (!isAwaited) coverage.late += 1;
    this.#scheduler.drafting.guessed(client.request.id, atTokens, Int32Array.from(tokens), this.#nowMs);
    if (isAwaited) client.waitsUntilMs = null;
  }

  #checkStep({ sequences }: PlannedStep, hasWaiting: boolean): void {
    const hasPrompts = hasWaiting || sequences.some(({ sampling }) => sampling === null);
    for (const { sequenceId, draftTokens, isDecoded, rows } of sequences) {
      const client = this.#client(sequenceId);
      const { output, request, waitsUntilMs } = client;
      const isRestarted = rows > 1 + draftTokens.length && !isDecoded;
      check(
        !client.isOver && (waitsUntilMs === null || isRestarted),
        () => 'a sequence that waits for guesses is in a step',
      );
      client.waitsUntilMs = null;
      check(draftTokens.length <= this.#config.guessesMax, () => 'too many guesses in a step');
      check(
        draftTokens.length === 0 || output.length + draftTokens.length < request.outputTokensMax,
        () => 'guesses beyond the end',
      );
      const isAsked = client.askedAt === request.promptTokens.length + output.length;
      if (draftTokens.length > 0 && !isAsked) coverage.byLookup += 1;
      if (draftTokens.length > 0 && hasPrompts) coverage.besidePrompts += 1;
      if (isDecoded) coverage.stateRepeats += 1;
      client.guesses = [...draftTokens];
    }
  }

  #deliver(): void {
    const result = this.#pipeline.results.shift();
    if (!result) return;
    for (const { sequenceId, tokens } of result.outputs) {
      const { guesses } = this.#client(sequenceId);
      if (tokens.length > 0 && tokens.length <= guesses.length) coverage.refuted += 1;
    }
    for (const event of this.#scheduler.complete(result, this.#nowMs)) {
      const client = this.#client(event.id);
      check(!client.isOver, () => 'an event after the end');
      if (event.kind === 'token') {
        client.output.push(event.token);
        check(
          client.expected[client.output.length - 1] === event.token,
          () => `sequence ${event.id} gave ${client.output.join()}, not ${client.expected.join()}`,
        );
        continue;
      }
      check(event.kind === 'end', () => `sequence ${event.id} ${event.kind}`);
      client.isOver = true;
      coverage.ended += 1;
      check(client.output.join() === client.expected.join(), () => 'it ended too early');
    }
  }

  #client(id: number): Client {
    const client = this.#clients.get(id);
    check(client !== undefined, () => `sequence ${id} is unknown`);
    return client;
  }
}

it('gives every sequence the tokens that it gives alone, whatever a draft guesses, and whenever', () => {
  for (let seed = 0; seed < 200; seed += 1)
    try {
      new Simulation(seed).run();
    } catch (error) {
      throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
    }
  // The traces must have gone through every narrow place.
  for (const [what, times] of Object.entries(coverage)) expect(times, what).toBeGreaterThan(0);
});
