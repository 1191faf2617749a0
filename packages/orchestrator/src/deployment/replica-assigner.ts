import { ButterflyError } from '@butterfly/common';
import type { Member } from '@butterfly/control';
import type { ReplicaGroups } from '@butterfly/planning';

/** A replica as the assigner sees it. */
export interface ReplicaState {
  /** Those that its plans may use now. */
  readonly members: readonly Member[];
  /** Whether a plan is in force or on its way. */
  readonly isPlanned: boolean;
}

export interface ReplicaMove {
  readonly workerId: string;
  /** Index of the replica to which it goes. */
  readonly replica: number;
}

export interface ReplicaAssignerConfig {
  /** Workers to wait for before they are split, and how long to wait for more after one joined. */
  readonly workersExpected: number;
  readonly gatherMs: number;
  /** Stages of each pipeline at least, where it has as many workers. */
  readonly stagesMin: number;
  /** @throws ButterflyError MODEL_TOO_LARGE when not even all of them hold the model. */
  readonly split: (members: readonly Member[]) => ReplicaGroups;
  readonly speedsOf: (groups: readonly (readonly Member[])[]) => readonly number[];
}

/** Moving workers costs their replicas a change of plan, so a better split must be so much better. */
const gainMin = 1.1;
/** So long it is waited for whoever was lost, who mostly comes back at once, before others go elsewhere. */
const returnWaitMs = 10_000;

/** Decides which replica each worker belongs to: a function of who is where, and of the time. */
export class ReplicaAssigner {
  #isGathered = false;
  #lastJoinMs = 0;
  #lastLossMs = -Infinity;
  #ids: ReadonlySet<string> = new Set();
  /** Of whom the last split was made: what is measured of links changes all the time, and is no reason for another. */
  #splitIds = '';
  /** Who was in a replica that could not go on when that was last looked at. */
  #strandedIds = '';
  #trouble: ButterflyError | null = null;

  constructor(private readonly config: ReplicaAssignerConfig) {}

  /** Whether the workers were split for the first time. */
  get isGathered(): boolean {
    return this.#isGathered;
  }

  /** Why everybody stayed where they were at the last look; null when there was no reason but that it is best. */
  get trouble(): ButterflyError | null {
    return this.#trouble;
  }

  /**
   * Where a newcomer goes: to the replica that cannot go without it, or else where it adds most. All replicas are made of the
   * first one, so until the first split everybody goes there.
   */
  replicaOf(newcomer: Member, replicas: readonly ReplicaState[], nowMs: number): number {
    this.#lastJoinMs = nowMs;
    const inUse = [...replicas.entries()].filter(([, { members }]) => members.length > 0);
    if (!this.#isGathered || inUse.length <= 1) return inUse[0]?.[0] ?? 0;
    return this.#orElse(inUse[0]?.[0] ?? 0, () => this.#bestFor(newcomer, inUse));
  }

  /** Who is to go to another replica now. */
  arrange(replicas: readonly ReplicaState[], nowMs: number): ReplicaMove[] {
    const all = replicas.flatMap(({ members }) => members);
    this.#notice(all, nowMs);
    if (nowMs - this.#lastJoinMs < this.config.gatherMs) return [];
    if (!this.#isGathered) {
      if (all.length < this.config.workersExpected) return [];
      this.#isGathered = true;
      this.#splitIds = idsOf(all);
      return this.#orElse([], () => this.#movesTo(this.#split(all)?.groups ?? null, replicas));
    }
    const isServing = replicas.some(({ isPlanned }) => isPlanned);
    if (isServing && nowMs - this.#lastLossMs < returnWaitMs) return [];
    const stranded = idsOf(replicas.filter(isBrokenLane).flatMap(({ members }) => members));
    const isSettled = stranded === '' || stranded === this.#strandedIds;
    if (all.length === 0 || (isSettled && idsOf(all) === this.#splitIds)) return [];
    this.#splitIds = idsOf(all);
    this.#strandedIds = stranded;
    return this.#orElse([], () => this.#improve(all, replicas));
  }

  /** A defect of the planner costs the change that was to be made, and nothing that serves. */
  #orElse<T>(instead: T, look: () => T): T {
    try {
      const found = look();
      this.#trouble = null;
      return found;
    } catch (error) {
      if (!(error instanceof ButterflyError)) throw error;
      this.#trouble = error;
      return instead;
    }
  }

  #notice(all: readonly Member[], nowMs: number): void {
    const ids = new Set(all.map(({ workerId }) => workerId));
    if ([...this.#ids].some((id) => !ids.has(id))) this.#lastLossMs = nowMs;
    this.#ids = ids;
  }

  #improve(all: readonly Member[], replicas: readonly ReplicaState[]): ReplicaMove[] {
    const split = this.#split(all);
    const serving = [...replicas.entries()].filter(([, { isPlanned }]) => isPlanned);
    if (split === null || serving.length === 0) return this.#movesTo(split?.groups ?? null, replicas);
    const speeds = this.config.speedsOf(serving.map(([, { members }]) => members));
    const speed = speeds.reduce((sum, each) => sum + each, 0);
    if (split.tokensPerSecond >= gainMin * speed) return this.#movesTo(split.groups, replicas);
    const stranded = replicas.filter(isBrokenLane).flatMap(({ members }) => members);
    return stranded.map((member) => ({
      workerId: member.workerId,
      replica: this.#bestFor(member, serving),
    }));
  }

  #split(all: readonly Member[]): ReplicaGroups | null {
    try {
      return this.config.split(all);
    } catch (error) {
      if (error instanceof ButterflyError && error.code === 'MODEL_TOO_LARGE') return null;
      throw error;
    }
  }

  #bestFor(newcomer: Member, replicas: readonly (readonly [index: number, state: ReplicaState])[]): number {
    const groups = replicas.map(([, { members }]) => members);
    const before = this.config.speedsOf(groups);
    const after = this.config.speedsOf(groups.map((group) => [...group, newcomer]));
    const ranked = replicas.map(([index, state], at) => {
      const [then = 0, now = 0] = [after[at], before[at]];
      const { length } = state.members;
      const isRescued = Number(isBrokenLane(state) && then > 0);
      const lacksStages = Number(length < this.config.stagesMin);
      return { index, rank: [isRescued, lacksStages, then - now, Number(isBrokenLane(state)), -length] };
    });
    ranked.sort((a, b) => compare(b.rank, a.rank));
    return ranked[0]?.index ?? 0;
  }

  /** Each group to the replica that most of it is in already; null puts everybody into one, to wait for more. */
  #movesTo(wanted: ReplicaGroups['groups'] | null, replicas: readonly ReplicaState[]): ReplicaMove[] {
    const groups = wanted ?? [replicas.flatMap(({ members }) => members.map(({ workerId }) => workerId))];
    const replicaOf = new Map(
      replicas.flatMap(({ members }, replica) => members.map(({ workerId }) => [workerId, replica] as const)),
    );
    const pairs = groups.flatMap((group) =>
      replicas.map((_, replica) => ({
        group,
        replica,
        shared: group.filter((id) => replicaOf.get(id) === replica).length,
      })),
    );
    const taken = new Map<number, readonly string[]>();
    for (const { group, replica } of pairs.sort((a, b) => b.shared - a.shared || a.replica - b.replica))
      if (!taken.has(replica) && ![...taken.values()].includes(group)) taken.set(replica, group);
    return [...taken].flatMap(([replica, group]) =>
      group.flatMap((workerId) => (replicaOf.get(workerId) === replica ? [] : [{ workerId, replica }])),
    );
  }
}

function isBrokenLane({ members, isPlanned }: ReplicaState): boolean {
  return members.length > 0 && !isPlanned;
}

function idsOf(members: readonly Member[]): string {
  return members
    .map(({ workerId }) => workerId)
    .sort()
    .join();
}

function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, index) => value !== b[index]);
  return at === -1 ? 0 : (a[at] ?? 0) - (b[at] ?? 0);
}
