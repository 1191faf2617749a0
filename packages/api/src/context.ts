import type { Clock, Observer } from '@butterfly/common';
import type { KeyRing } from '@butterfly/identity';
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

/** Who may ask. */
export interface ApiAccess {
  /** The keys that there are; null where none are kept. */
  readonly keys: Pick<KeyRing, 'recognise'> | null;
  /** Whether nobody is let in without. */
  readonly isKeyRequired: boolean;
}

/** What the administration routes are served from, and to whom. */
export interface ClusterAdministration {
  readonly view: ClusterView;
  /** What callers from elsewhere must show; null keeps them out. */
  readonly token: string | null;
}

/** What clients are told of a model, so that they need not be told by hand. */
export interface ModelFacts {
  /** As `general.architecture` has it. */
  readonly architecture: string;
  readonly parameters: number;
  /** The type of most of its weights, such as `Q4_K`. */
  readonly quantisation: string;
  /** Of its weights. */
  readonly bytes: number;
  /** Tokens that it was trained to see at once. */
  readonly contextTrained: number;
  /** SHA-256 in hexadecimal that tells it from every other. */
  readonly digest: string;
  /** Jinja source; null where it has none of its own. */
  readonly chatTemplate: string | null;
  /** In Ollama's words, such as `completion`. */
  readonly capabilities: readonly string[];
}

/** A model as the API offers it. */
export interface ServedModel extends AnsweringModel {
  /** Seconds since 1970. */
  readonly createdS: number;
  readonly facts: ModelFacts;
}

/** What the API serves, and with what. */
export interface ApiContext {
  readonly model: ServedModel;
  /** Hears what happens to requests. */
  readonly observe: Observer;
  readonly clock: Clock;
  readonly http: HttpSettings;
  readonly access: ApiAccess;
  /** Absent where there is nothing to administrate. */
  readonly administration?: ClusterAdministration;
}
