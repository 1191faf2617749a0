import type { Clock, Observer } from '@butterfly/common';
import type { AnsweringModel } from '@butterfly/generation';
import type { ClusterView } from '@butterfly/orchestrator';

/** Who is let in, and how long a stream may be silent. */
export interface HttpSettings {
  /** Silence on a stream before a comment breaks it; 0 for never. */
  readonly keepAliveMs: number;
  /** Origins whose pages may ask, as browsers write them; `*` for all. */
  readonly corsOrigins: readonly string[];
  /** Names by which a server on a loopback address may be asked, besides those of every machine. */
  readonly hostNames: readonly string[];
}

/** What the administration routes are served from, and to whom. */
export interface ClusterAdministration {
  readonly view: ClusterView;
  /** What callers from elsewhere must show; null keeps them out. */
  readonly token: string | null;
}

/** A model as the API offers it. */
export interface ServedModel extends AnsweringModel {
  /** Seconds since 1970. */
  readonly createdS: number;
}

/** What the API serves, and with what. */
export interface ApiContext {
  readonly model: ServedModel;
  /** Hears what happens to requests. */
  readonly observe: Observer;
  readonly clock: Clock;
  readonly http: HttpSettings;
  /** Absent where there is nothing to administrate. */
  readonly administration?: ClusterAdministration;
}
