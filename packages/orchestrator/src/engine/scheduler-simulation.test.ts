import { expect, it } from 'vitest';
import { FakePipeline, layerCount, randomSource, reference, vocabulary } from './scheduler-fake-pipeline.js';
import { Scheduler } from './scheduler.js';
import type { PlannedStep, SchedulerConfig, SchedulerRequest, SchedulerResult } from './scheduler-types.js';

function check(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new Error(message());
}

/** What the outside world has seen of a sequence. */
interface Client {
  readonly request: SchedulerRequest;
  readonly output: number[];
  end: 'stop' | 'length' | 'cancelled' | 'expired' | null;
  scheduled: number;
  seen: boolean;
  /** It has been served while it was the oldest: from then on it must never be set back. */
  servedAsOldest: boolean;
  starts: number;
}

const coverage = {
  restarts: 0,
  copies: 0,
  splitSlides: 0,
  staleAccepted: 0,
  droppedDuplicates: 0,
  rewinds: 0,
  ended: 0,
};

class Simulation {
  readonly #random;
  readonly #clients = new Map<number, Client>();
  readonly #startsAtStep = new Map<number, Map<number, number>>();
  readonly #staleResults: SchedulerResult[] = [];
  readonly #contextTokensMax: number;
  /** Short prompts, long outputs and an arena of little more than a context: preemption all the time. */
  readonly #crowded: boolean;
  readonly #scheduler: Scheduler;
  #config: Required<SchedulerConfig>;
  #pipeline: FakePipeline;
  #nowMs = 0;
  #unsubmitted: number;

  constructor(seed: number) {
    this.#random = randomSource(seed);
    this.#crowded = this.#random.below(2) === 0;
    this.#contextTokensMax = this.#random.between(8, 48);
    this.#unsubmitted = this.#random.between(2, this.#crowded ? 24 : 12);
    this.#config = this.#randomConfig();
    this.#scheduler = new Scheduler(this.#config);
    this.#pipeline = new FakePipeline(this.#config.stages, this.#config.arenaSlots, -1);
  }

  run(): void {
    let actions = 0;
    while (this.#unsubmitted > 0 || this.#living().length > 0 || this.#scheduler.stats().inFlight > 0) {
      this.#act();
      actions += 1;
      check(actions < 100_000, () => 'starvation');
    }
    const { arenaSlots, arenaGranularity } = this.#config;
    const freeSlots = arenaSlots - (arenaSlots % arenaGranularity);
    expect(this.#scheduler.stats()).toEqual({ running: 0, waiting: 0, inFlight: 0, freeSlots });
    for (const client of this.#clients.values()) checkOutput(client);
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

  #randomConfig(): Required<SchedulerConfig> {
    const random = this.#random;
    const arenaGranularity = random.between(1, this.#crowded ? 2 : 8);
    const contextSlots = this.#contextTokensMax + arenaGranularity;
    return {
      contextTokensMax: this.#contextTokensMax,
      arenaGranularity,
      arenaSlots: random.between(contextSlots, contextSlots * random.between(1, this.#crowded ? 1 : 4)),
      stages: random.between(1, layerCount),
      runningMax: random.between(1, 10),
      stepRowsMax: random.between(1, 40),
    };
  }

  #submit(): void {
    if (this.#unsubmitted === 0) return;
    this.#unsubmitted -= 1;
    const random = this.#random;
    const promptLength = random.between(1, this.#crowded ? 4 : this.#contextTokensMax - 1);
    const request: SchedulerRequest = {
      id: this.#clients.size,
      promptTokens: Int32Array.from({ length: promptLength }, () => random.below(vocabulary)),
      outputTokensMax: random.between(this.#crowded ? 4 : 1, this.#contextTokensMax - promptLength),
      sampling: {
        temperature: 0,
        topK: 0,
        topP: 1,
        minP: 0,
        frequencyPenalty: 0,
        presencePenalty: 0,
        repeatPenalty: random.between(1, 2),
        seed: random.below(1000),
      },
      stopTokens: new Set(random.below(2) === 0 ? [] : [3, 5]),
      nowMs: this.#nowMs,
      deadlineMs: this.#nowMs + (random.below(10) === 0 ? random.below(300) : 1e9),
    };
    this.#clients.set(request.id, {
      request,
      output: [],
      end: null,
      scheduled: 0,
      seen: false,
      servedAsOldest: false,
      starts: 0,
    });
    this.#scheduler.submit(request);
  }

  #living(): Client[] {
    return [...this.#clients.values()].filter(({ end }) => end === null);
  }

  #cancel(): void {
    const living = this.#living();
    // Often the oldest: it makes room for one that was just preempted while its tokens are still under way.
    const client = living[this.#random.below(this.#crowded ? 2 : Math.max(1, living.length))];
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
      this.#config = this.#randomConfig();
      this.#scheduler.reconfigure(this.#config);
    }
    this.#pipeline = new FakePipeline(this.#config.stages, this.#config.arenaSlots, this.#nowMs);
    for (const client of this.#clients.values()) {
      client.scheduled = 0;
      client.servedAsOldest = false;
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
    check(this.#scheduler.stats().inFlight <= this.#config.stages, () => 'too many steps in flight');
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

  #checkTokens(step: PlannedStep): void {
    const [oldest] = this.#living();
    const starts = new Map<number, number>();
    let offset = 0;
    for (const { sequenceId, positionStart, rows, logitRows, sampling } of step.sequences) {
      const client = this.#client(sequenceId);
      const known = [...client.request.promptTokens, ...client.output];
      const end = positionStart + rows;
      check(client.end === null && rows > 0, () => 'an ended sequence was scheduled');
      check(
        known.slice(positionStart, end).join() === step.tokens.slice(offset, offset + rows).join(),
        () => 'wrong tokens',
      );
      check(
        logitRows === (end === known.length ? 1 : 0) && (sampling !== null) === (logitRows === 1),
        () => 'wrong logits',
      );
      if (positionStart === 0) this.#checkStart(client);
      else check(positionStart === client.scheduled, () => 'a gap or repetition in what is cached');
      if (client === oldest) client.servedAsOldest = true;
      client.scheduled = end;
      starts.set(sequenceId, client.starts);
      offset += rows;
    }
    check(
      offset === step.tokens.length && starts.size === step.sequences.length,
      () => 'a sequence comes twice',
    );
    this.#startsAtStep.set(step.stepId, starts);
  }

  #checkStart(client: Client): void {
    check(!client.servedAsOldest, () => 'the oldest was preempted');
    if (client.scheduled > 0) coverage.restarts += 1;
    client.starts += 1;
    client.seen = true;
    for (const other of this.#living())
      if (other.request.id < client.request.id) check(other.seen, () => 'a younger one overtook');
  }

  #deliver(): void {
    const result = this.#pipeline.results.shift();
    if (result === undefined) return;
    const events = this.#scheduler.complete(result, this.#nowMs);
    for (const { sequenceId } of result.outputs) {
      const client = this.#client(sequenceId);
      const answered = events.some(({ id }) => id === sequenceId);
      if (client.end === null && !answered) coverage.droppedDuplicates += 1;
      if (answered && this.#startsAtStep.get(result.stepId)?.get(sequenceId) !== client.starts)
        coverage.staleAccepted += 1;
    }
    for (const event of events) {
      const client = this.#client(event.id);
      check(client.end === null && event.kind !== 'expired', () => 'an event after the end');
      if (event.kind === 'token') client.output.push(event.token);
      else client.end = event.reason;
    }
  }

  #client(id: number): Client {
    const client = this.#clients.get(id);
    check(client !== undefined, () => `sequence ${id} is unknown`);
    return client;
  }
}

function checkOutput({ request, output, end }: Client): void {
  const { tokens, reason } = reference(request);
  const whole = end === 'stop' || end === 'length';
  check(
    !whole || end === reason,
    () => `sequence ${request.id} ended with ${end ?? 'nothing'}, not ${reason}`,
  );
  const wanted = whole ? tokens : tokens.slice(0, output.length);
  check(
    output.join() === wanted.join(),
    () => `sequence ${request.id} gave ${output.join()}, not ${wanted.join()}`,
  );
  if (whole) coverage.ended += 1;
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
