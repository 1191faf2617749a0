import type { WorkerProfile } from '@butterfly/common';

/** What the controller knows of a worker that has joined and measured itself. */
export interface Member {
  readonly workerId: string;
  /** As people call it. */
  readonly name: string;
  /** The same for a worker that comes back. */
  readonly identity: string;
  /** What it offers for weights, KV arena and compute buffers together. */
  readonly memoryBytes: number;
  readonly profile: WorkerProfile;
}

/** What a worker has of a shard; `kept` is what it has from before, until it has told of it anew. */
type Holding = 'kept' | 'loading' | 'held';

interface Record {
  readonly member: Member;
  readonly holdings: Map<string, Holding>;
  isDraining: boolean;
}

/** Losses count for this long. */
const memoryMs = 10 * 60_000;
/** How long a worker is left out after its second, third and further losses in that time; the first is forgiven. */
const pausesMs = [0, 10_000, 60_000, 300_000] as const;

/**
 * Who is here, what each holds, and who is left out for a while. A worker that is lost again and again is kept out ever
 * longer, because each of its returns costs everybody a change of plan.
 */
export class Members {
  readonly #records = new Map<string, Record>();
  /** Times of losses by identity, since a worker comes back under another id. */
  readonly #losses = new Map<string, number[]>();
  readonly #leftOutUntilMs = new Map<string, number>();

  get size(): number {
    return this.#records.size;
  }

  get(workerId: string): Member | undefined {
    return this.#records.get(workerId)?.member;
  }

  all(): Member[] {
    return [...this.#records.values()].map(({ member }) => member);
  }

  /** @param heldShards what it still has from before */
  add(member: Member, heldShards: readonly string[] = []): void {
    const holdings = new Map<string, Holding>(heldShards.map((shardId) => [shardId, 'kept'] as const));
    this.#records.set(member.workerId, { member, holdings, isDraining: false });
  }

  remove(workerId: string): void {
    this.#records.delete(workerId);
  }

  /** Those that a plan may use now. */
  available(nowMs: number): Member[] {
    return [...this.#records.values()]
      .filter(
        ({ member, isDraining }) => !isDraining && (this.#leftOutUntilMs.get(member.identity) ?? 0) <= nowMs,
      )
      .map(({ member }) => member);
  }

  /** When the next one that is left out may take part again; Infinity when nobody is. */
  nextReturnMs(nowMs: number): number {
    let nextMs = Infinity;
    for (const { member } of this.#records.values()) {
      const untilMs = this.#leftOutUntilMs.get(member.identity) ?? 0;
      if (untilMs > nowMs) nextMs = Math.min(nextMs, untilMs);
    }
    return nextMs;
  }

  /** A worker was lost, or failed at its work, while others relied on it. */
  lost({ identity }: Member, nowMs: number): void {
    const recent = (this.#losses.get(identity) ?? []).filter((atMs) => atMs > nowMs - memoryMs);
    recent.push(nowMs);
    this.#losses.set(identity, recent.slice(-pausesMs.length));
    this.leaveOut(identity, pausesMs[Math.min(recent.length, pausesMs.length) - 1] ?? 0, nowMs);
  }

  leaveOut(identity: string, pauseMs: number, nowMs: number): void {
    const untilMs = Math.max(nowMs + pauseMs, this.#leftOutUntilMs.get(identity) ?? 0);
    this.#leftOutUntilMs.set(identity, untilMs);
    this.#forgetBefore(nowMs - memoryMs);
  }

  holds(workerId: string, shardId: string): Holding | null {
    return this.#records.get(workerId)?.holdings.get(shardId) ?? null;
  }

  shardsOf(workerId: string): string[] {
    return [...(this.#records.get(workerId)?.holdings.keys() ?? [])];
  }

  hold(workerId: string, shardId: string, holding: Holding): void {
    this.#records.get(workerId)?.holdings.set(shardId, holding);
  }

  unhold(workerId: string, shardId: string): void {
    this.#records.get(workerId)?.holdings.delete(shardId);
  }

  isDraining(workerId: string): boolean {
    return this.#records.get(workerId)?.isDraining ?? false;
  }

  drain(workerId: string, isDraining: boolean): void {
    const record = this.#records.get(workerId);
    if (record) record.isDraining = isDraining;
  }

  draining(): Member[] {
    return [...this.#records.values()].filter(({ isDraining }) => isDraining).map(({ member }) => member);
  }

  /** The memory of losses is as bounded as time: whoever was not lost lately is forgotten. */
  #forgetBefore(thenMs: number): void {
    for (const [identity, atMs] of this.#losses)
      if ((atMs.at(-1) ?? 0) <= thenMs) this.#losses.delete(identity);
    for (const [identity, untilMs] of this.#leftOutUntilMs)
      if (untilMs <= thenMs) this.#leftOutUntilMs.delete(identity);
  }
}
