import type { MemberHost, PlanStage } from '@butterfly/planning';
import type { WorkerProfile } from '@butterfly/wire';
import { Losses } from './losses.js';

/** What the controller knows of a worker that has joined and measured itself. */
export interface Member {
  readonly workerId: string;
  /** As people call it. */
  readonly name: string;
  /** The same for a worker that comes back. */
  readonly identity: string;
  /** What it offers for weights, KV arena and compute buffers together. */
  readonly memoryBytes: number;
  /** The machine whose free memory that is, and which other workers of it offer too; absent where it is its own. */
  readonly memoryOf?: string;
  /** Of a worker on a card: what it may take of the memory of its machine. */
  readonly host?: MemberHost;
  readonly profile: WorkerProfile;
}

/** What a worker has of a shard; `kept` is what it has from before, until it has told of it anew. */
type Holding = 'kept' | 'loading' | 'held';

/** Memory that a worker's shards take, or will take once they are loaded. */
export interface Claim {
  readonly workerId: string;
  readonly bytes: number;
  /** Beside a card. */
  readonly hostBytes: number;
}

interface Record {
  readonly member: Member;
  readonly holdings: Map<string, Holding>;
  /** By shard, of those that were ordered. */
  readonly sizes: Map<string, Pick<PlanStage, 'bytes' | 'host'>>;
  isDraining: boolean;
}

/** Who is here, what each holds, and who is left out for a while. */
export class Members {
  readonly #records = new Map<string, Record>();

  /**
   * @param losses those of other replicas among them, where there are some
   * @param room what is left of the memory of a member for this model, where it has shards of others
   */
  constructor(
    private readonly losses = new Losses(),
    private readonly room: (member: Member) => Member = (member) => member,
  ) {}

  get size(): number {
    return this.#records.size;
  }

  get(workerId: string): Member | undefined {
    const record = this.#records.get(workerId);
    return record && this.room(record.member);
  }

  all(): Member[] {
    return [...this.#records.values()].map(({ member }) => this.room(member));
  }

  /** @param heldShards what it still has from before */
  add(member: Member, heldShards: readonly string[] = []): void {
    const holdings = new Map<string, Holding>(heldShards.map((shardId) => [shardId, 'kept'] as const));
    this.#records.set(member.workerId, { member, holdings, sizes: new Map(), isDraining: false });
  }

  remove(workerId: string): void {
    this.#records.delete(workerId);
  }

  /** Those that a plan may use now. */
  available(nowMs: number): Member[] {
    return [...this.#records.values()]
      .filter(({ member, isDraining }) => !isDraining && !this.losses.isLeftOut(member.identity, nowMs))
      .map(({ member }) => this.room(member));
  }

  /** Those that a plan may use where these do not suffice: also those that were lost too often. */
  atNeed(nowMs: number): Member[] {
    return [...this.#records.values()]
      .filter(({ member, isDraining }) => !isDraining && !this.losses.isBarred(member.identity, nowMs))
      .map(({ member }) => this.room(member));
  }

  /** When the next one that is left out may take part again; Infinity when nobody is. */
  nextReturnMs(nowMs: number): number {
    let nextMs = Infinity;
    for (const { member } of this.#records.values()) {
      const untilMs = this.losses.leftOutUntilMs(member.identity);
      if (untilMs > nowMs) nextMs = Math.min(nextMs, untilMs);
    }
    return nextMs;
  }

  /** A worker was lost, or failed at its work, while others relied on it. */
  lost({ identity }: Member, nowMs: number): void {
    this.losses.lost(identity, nowMs);
  }

  leaveOut(identity: string, pauseMs: number, nowMs: number): void {
    this.losses.leaveOut(identity, pauseMs, nowMs);
  }

  /** Leaves it out while the others can hold the model without it. */
  pause(identity: string, pauseMs: number, nowMs: number): void {
    this.losses.pause(identity, pauseMs, nowMs);
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

  /** A worker is told to load a shard. */
  order(workerId: string, shardId: string, size: Pick<PlanStage, 'bytes' | 'host'>): void {
    this.hold(workerId, shardId, 'loading');
    this.#records.get(workerId)?.sizes.set(shardId, size);
  }

  unhold(workerId: string, shardId: string): void {
    this.#records.get(workerId)?.holdings.delete(shardId);
    this.#records.get(workerId)?.sizes.delete(shardId);
  }

  /** What is not left for others. */
  claims(): Claim[] {
    return [...this.#records].map(([workerId, { sizes }]) => {
      const all = [...sizes.values()];
      return {
        workerId,
        bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
        hostBytes: all.reduce((sum, { host }) => sum + (host?.bytes ?? 0), 0),
      };
    });
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
}
