import type { Clock, Observer } from '@butterfly/common';
import type { Engine } from '@butterfly/engine';
import type { Vocabulary } from '@butterfly/ggml';
import type { ClusterView } from '@butterfly/orchestrator';
import type { PromptMaker } from '@butterfly/text';

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

/** What the API serves, and with what. */
export interface ApiContext {
  readonly engine: Engine;
  readonly vocabulary: Vocabulary;
  readonly prompts: PromptMaker;
  readonly model: {
    readonly id: string;
    /** Seconds since 1970. */
    readonly createdS: number;
  };
  /** Hears what happens to requests. */
  readonly observe: Observer;
  readonly clock: Clock;
  readonly http: HttpSettings;
  /** Absent where there is nothing to administrate. */
  readonly administration?: ClusterAdministration;
}
