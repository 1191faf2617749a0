import { ButterflyError } from '@butterfly/common';
import type { Member } from '@butterfly/control';
import type { ReplicaGroups } from '@butterfly/planning';

/** A lane as the assigner sees it. */
export interface LaneState {
  /** Those that its plans may use now. */
  readonly members: readonly Member[];
  /** Whether a plan is in force or on its way. */
  readonly isPlanned: boolean;
}

export interface LaneMove {
  readonly workerId: string;
  /** Index of the lane to which it goes. */
  readonly lane: number;
}

export interface LaneAssignerConfig {
  /** Workers to wait for before they are split, and how long to wait for more after one joined. */
  readonly workersExpected: number;
  readonly gatherMs: number;
  /** Stages of each pipeline at least, where it has as many workers. */
  readonly stagesMin: number;
  /** @throws ButterflyError MODEL_TOO_LARGE when not even all of them hold the model. */
  readonly split: (members: readonly Member[]) => ReplicaGroups;
  readonly speedsOf: (groups: readonly (readonly Member[])[]) => readonly number[];
}

/** Moving workers costs their lanes a change of plan, so a better split must be so much better. */
const gainMin = 1.1;
/** So long it is waited for whoever was lost, who mostly comes back at once, before others go elsewhere. */
const returnWaitMs = 10_000;

/** Decides which lane each worker belongs to: a function of who is where, and of the time. */
export class LaneAssigner {
  #isGathered = false;
  #lastJoinMs = 0;
  #lastLossMs = -Infinity;
  #ids: ReadonlySet<string> = new Set();
  /** Of whom the last split was made: what is measured of links changes all the time, and is no reason for another. */
  #splitIds = '';
  /** Who was in a lane that could not go on when that was last looked at. */
  #strandedIds = '';
  #trouble: ButterflyError | null = null;

  constructor(private readonly config: LaneAssignerConfig) {}

  /** Whether the workers were split for the first time. */
  get isGathered(): boolean {
    return this.#isGathered;
  }

  /** Why everybody stayed where they were at the last look; null when there was no reason but that it is best. */
  get trouble(): ButterflyError | null {
    return this.#trouble;
  }

  /**
   * Where a newcomer goes: to the lane that cannot go without it, or else where it adds most. All lanes are made of the
   * first one, so until the first split everybody goes there.
   */
  laneOf(newcomer: Member, lanes: readonly LaneState[], nowMs: number): number {
    this.#lastJoinMs = nowMs;
    const inUse = [...lanes.entries()].filter(([, { members }]) => members.length > 0);
    if (!this.#isGathered || inUse.length <= 1) return inUse[0]?.[0] ?? 0;
    return this.#orElse(inUse[0]?.[0] ?? 0, () => this.#bestFor(newcomer, inUse));
  }

  /** Who is to go to another lane now. */
  arrange(lanes: readonly LaneState[], nowMs: number): LaneMove[] {
    const all = lanes.flatMap(({ members }) => members);
    this.#notice(all, nowMs);
    if (nowMs - this.#lastJoinMs < this.config.gatherMs) return [];
    if (!this.#isGathered) {
      if (all.length < this.config.workersExpected) return [];
      this.#isGathered = true;
      this.#splitIds = idsOf(all);
      return this.#orElse([], () => this.#movesTo(this.#split(all)?.groups ?? null, lanes));
    }
    const isServing = lanes.some(({ isPlanned }) => isPlanned);
    if (isServing && nowMs - this.#lastLossMs < returnWaitMs) return [];
    const stranded = idsOf(lanes.filter(isBrokenLane).flatMap(({ members }) => members));
    const isSettled = stranded === '' || stranded === this.#strandedIds;
    if (all.length === 0 || (isSettled && idsOf(all) === this.#splitIds)) return [];
    this.#splitIds = idsOf(all);
    this.#strandedIds = stranded;
    return this.#orElse([], () => this.#improve(all, lanes));
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

  #improve(all: readonly Member[], lanes: readonly LaneState[]): LaneMove[] {
    const split = this.#split(all);
    const serving = [...lanes.entries()].filter(([, { isPlanned }]) => isPlanned);
    if (split === null || serving.length === 0) return this.#movesTo(split?.groups ?? null, lanes);
    const speeds = this.config.speedsOf(serving.map(([, { members }]) => members));
    const speed = speeds.reduce((sum, each) => sum + each, 0);
    if (split.tokensPerSecond >= gainMin * speed) return this.#movesTo(split.groups, lanes);
    const stranded = lanes.filter(isBrokenLane).flatMap(({ members }) => members);
    return stranded.map((member) => ({
      workerId: member.workerId,
      lane: this.#bestFor(member, serving),
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

  #bestFor(newcomer: Member, lanes: readonly (readonly [index: number, state: LaneState])[]): number {
    const groups = lanes.map(([, { members }]) => members);
    const before = this.config.speedsOf(groups);
    const after = this.config.speedsOf(groups.map((group) => [...group, newcomer]));
    const ranked = lanes.map(([index, state], at) => {
      const [then = 0, now = 0] = [after[at], before[at]];
      const { length } = state.members;
      const isRescued = Number(isBrokenLane(state) && then > 0);
      const lacksStages = Number(length < this.config.stagesMin);
      return { index, rank: [isRescued, lacksStages, then - now, Number(isBrokenLane(state)), -length] };
    });
    ranked.sort((a, b) => compare(b.rank, a.rank));
    return ranked[0]?.index ?? 0;
  }

  /** Each group to the lane that most of it is in already; null puts everybody into one, to wait for more. */
  #movesTo(wanted: ReplicaGroups['groups'] | null, lanes: readonly LaneState[]): LaneMove[] {
    const groups = wanted ?? [lanes.flatMap(({ members }) => members.map(({ workerId }) => workerId))];
    const laneOf = new Map(
      lanes.flatMap(({ members }, lane) => members.map(({ workerId }) => [workerId, lane] as const)),
    );
    const pairs = groups.flatMap((group) =>
      lanes.map((_, lane) => ({ group, lane, shared: group.filter((id) => laneOf.get(id) === lane).length })),
    );
    const taken = new Map<number, readonly string[]>();
    for (const { group, lane } of pairs.sort((a, b) => b.shared - a.shared || a.lane - b.lane))
      if (!taken.has(lane) && ![...taken.values()].includes(group)) taken.set(lane, group);
    return [...taken].flatMap(([lane, group]) =>
      group.flatMap((workerId) => (laneOf.get(workerId) === lane ? [] : [{ workerId, lane }])),
    );
  }
}

function isBrokenLane({ members, isPlanned }: LaneState): boolean {
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
