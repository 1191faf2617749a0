import { type ButterflyEvent, ButterflyError, type Clock, deadlines, limits } from '@butterfly/common';
import { EventRing } from '../kept/event-ring.js';
import { type ModelLoad, PulseMeter } from '../kept/pulse-meter.js';
import { PlansInForce } from '../kept/plans-in-force.js';
import { RequestLedger } from '../kept/request-ledger.js';
import { Series } from '../kept/series.js';
import type { ClusterGlance, EventView, LiveMessage, SeriesBucket } from '../view/live-view.js';
import type { RequestTimeline, RequestView } from '../view/request-view.js';

/** A loaded model as it is now. */
export interface WatchedModel extends ModelLoad {
  /** Slots of its arenas, and those of them that nobody uses. */
  readonly arenaSlots: number;
  readonly availableSlots: number;
}

/** What is asked how things are, where events do not tell. */
export interface Watched {
  glance(): ClusterGlance;
  loads(): readonly WatchedModel[];
}

/** Hears what happens in a cluster from now on, until it is disposed. */
export type Watching = Disposable;

/** What is shown of requests, events and the last hour. */
export interface TelemetryView {
  /** The newest last. */
  requests(most: number): readonly RequestView[];
  /** Null for one that is not remembered. */
  timeline(requestId: string): RequestTimeline | null;
  /** Those after an index, the newest last. */
  events(after: number): readonly EventView[];
  series(): readonly SeriesBucket[];
  /**
   * Tells all that is known, and then every change.
   * @param onEnd called when nothing more will be told
   * @throws ButterflyError QUEUE_FULL where too many watch
   */
  watch(tell: (message: LiveMessage) => void, onEnd: () => void): Watching;
}

interface Watcher {
  readonly tell: (message: LiveMessage) => void;
  readonly onEnd: () => void;
  /** Up to which changes, events and words of the cluster it knows. */
  changes: number;
  eventIndex: number;
  cluster: string;
}

/** The cluster, and the same as text, which tells whether it changed. */
interface Glance {
  readonly cluster: ClusterGlance;
  readonly words: string;
}

/** How many requests a watcher is told of at first. */
const firstRequests = 200;

/** Keeps what happens, and tells it to whoever watches. */
export class Telemetry implements TelemetryView, Disposable {
  readonly #plans = new PlansInForce();
  readonly #events = new EventRing();
  readonly #series: Series;
  readonly #ledger: RequestLedger;
  readonly #pulses: PulseMeter;
  readonly #watchers = new Set<Watcher>();
  #watched: Watched | null = null;
  #cancelPulse: () => void = () => undefined;
  #cancelSeries: () => void = () => undefined;

  /** @param wallMs milliseconds since 1970, which never go back */
  constructor(
    private readonly clock: Clock,
    private readonly wallMs: () => number = () => performance.timeOrigin + performance.now(),
  ) {
    this.#series = new Series(this.#plans, wallMs());
    this.#ledger = new RequestLedger(this.#series, this.#plans);
    this.#pulses = new PulseMeter(this.#plans, wallMs());
  }

  /** An `Observer`. */
  readonly observe = (event: ButterflyEvent): void => {
    const nowMs = this.wallMs();
    this.#ledger.take(event, nowMs);
    this.#series.take(event);
    this.#pulses.take(event);
    this.#events.take(event, nowMs);
    // Last, so that the end of a plan is heard while it is known what plan that was.
    this.#plans.take(event, nowMs);
  };

  /** From now on there is somebody to ask, and somebody may watch. */
  start(watched: Watched): void {
    this.#watched = watched;
    this.#scheduleSeries();
  }

  requests(most: number): readonly RequestView[] {
    return this.#ledger.list(most);
  }

  timeline(requestId: string): RequestTimeline | null {
    return this.#ledger.timeline(requestId);
  }

  events(after: number): readonly EventView[] {
    return this.#events.after(after);
  }

  series(): readonly SeriesBucket[] {
    return this.#series.buckets;
  }

  watch(tell: (message: LiveMessage) => void, onEnd: () => void): Watching {
    if (this.#watchers.size >= limits.watchersMax)
      throw new ButterflyError(
        'QUEUE_FULL',
        `${this.#watchers.size} pages and terminals watch already; close one of them.`,
      );
    const watcher: Watcher = { tell, onEnd, changes: 0, eventIndex: 0, cluster: '' };
    this.#watchers.add(watcher);
    tellCluster(watcher, this.#glance());
    const { changes } = this.#ledger.changedSince(Infinity);
    watcher.changes = changes;
    tell({ kind: 'requests', requests: this.#ledger.list(firstRequests) });
    const events = this.#events.after(0);
    watcher.eventIndex = events.at(-1)?.index ?? 0;
    tell({ kind: 'events', events });
    tell({ kind: 'series', buckets: this.#series.buckets });
    if (this.#watchers.size === 1) {
      // What happened while nobody watched is no part of the first pulse.
      this.#pulses.beat([], this.wallMs());
      this.#schedulePulse();
    }
    return {
      [Symbol.dispose]: () => {
        this.#watchers.delete(watcher);
        if (this.#watchers.size === 0) this.#cancelPulse();
      },
    };
  }

  [Symbol.dispose](): void {
    this.#cancelPulse();
    this.#cancelSeries();
    const watchers = [...this.#watchers];
    this.#watchers.clear();
    for (const { onEnd } of watchers) onEnd();
  }

  #schedulePulse(): void {
    this.#cancelPulse = this.clock.after(deadlines.pulseMs, () => {
      const pulse = this.#pulses.beat(this.#watched?.loads() ?? [], this.wallMs());
      const glance = this.#glance();
      for (const watcher of this.#watchers) {
        this.#tellChanges(watcher, glance);
        watcher.tell({ kind: 'pulse', pulse });
      }
      if (this.#watchers.size > 0) this.#schedulePulse();
    });
  }

  #scheduleSeries(): void {
    this.#cancelSeries = this.clock.after(deadlines.seriesIntervalMs, () => {
      const bucket = this.#series.close(loadOf(this.#watched?.loads() ?? []), this.wallMs());
      for (const { tell } of this.#watchers) tell({ kind: 'series', buckets: [bucket] });
      this.#scheduleSeries();
    });
  }

  #tellChanges(watcher: Watcher, glance: Glance | null): void {
    const { changes, requests } = this.#ledger.changedSince(watcher.changes);
    watcher.changes = changes;
    if (requests.length > 0) watcher.tell({ kind: 'requests', requests });
    const events = this.#events.after(watcher.eventIndex);
    watcher.eventIndex = events.at(-1)?.index ?? watcher.eventIndex;
    if (events.length > 0) watcher.tell({ kind: 'events', events });
    tellCluster(watcher, glance);
  }

  #glance(): Glance | null {
    const cluster = this.#watched?.glance();
    return cluster ? { cluster, words: JSON.stringify(cluster) } : null;
  }
}

function tellCluster(watcher: Watcher, glance: Glance | null): void {
  if (!glance || glance.words === watcher.cluster) return;
  watcher.cluster = glance.words;
  watcher.tell({ kind: 'cluster', cluster: glance.cluster });
}

function loadOf(models: readonly WatchedModel[]): { running: number; queued: number; arenaShare: number } {
  const sum = (of: (model: WatchedModel) => number): number =>
    models.reduce((total, model) => total + of(model), 0);
  const slots = sum(({ arenaSlots }) => arenaSlots);
  return {
    running: sum(({ running }) => running),
    queued: sum(({ queued }) => queued),
    arenaShare: slots === 0 ? 0 : 1 - sum(({ availableSlots }) => availableSlots) / slots,
  };
}
