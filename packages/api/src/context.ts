import type { ButterflyError, Clock, Observer } from '@butterfly/common';
import type { EngineStatus } from '@butterfly/engine';
import type { KeyRing } from '@butterfly/identity';
import type { AnsweringModel } from '@butterfly/generation';
import type { ClusterView } from '@butterfly/orchestrator';
import type { JoinLine, MetricsPage, TelemetryView } from '@butterfly/telemetry';

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
  /** What happened and happens; absent where nobody keeps it. */
  readonly telemetry?: TelemetryView | undefined;
  /** Makes the line with which another machine joins; absent where none may. @throws ButterflyError REQUEST_UNSUPPORTED, CONFIG_INVALID */
  readonly joinLine?: ((wishes: JoinWishes) => Promise<JoinLine>) | undefined;
  /** What callers from elsewhere must show; null keeps them out. */
  readonly token: string | null;
  /** For a scraper that takes this; absent where nothing is measured. */
  readonly metrics?: ((accept: string | undefined) => Promise<MetricsPage>) | undefined;
}

/** What is wished of the next machine. */
export interface JoinWishes {
  /** How long it may take until it joins; null for ever. */
  readonly lifeMs: number | null;
  /** How many machines may come; null for any number. */
  readonly usesMax: number | null;
  /** By which this server was asked: an address that somebody reached. */
  readonly host: string;
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

/** Whether a model can answer now, or what is in the way. */
export type ModelState = 'unloaded' | 'loading' | 'loaded' | 'unloading' | 'failed';

/** A model as the API offers it, whether it is loaded or not. */
export interface OfferedModel {
  readonly id: string;
  /** Other names for it. */
  readonly aliases: readonly string[];
  /** Seconds since 1970. */
  readonly createdS: number;
  readonly facts: ModelFacts;
  /** Prompt plus output of one request, in tokens. */
  readonly contextTokens: number;
  readonly vocabularySize: number;
  readonly state: ModelState;
  /** Why it could not be loaded, the last time that this was tried. */
  readonly failure: ButterflyError | null;
  /** Memory of all workers that it takes, or will take. */
  readonly loadedBytes: number;
  /** When it is unloaded, in milliseconds since 1970, unless somebody asks before; null where it stays, is in use, or is not loaded. */
  readonly expiresMs: number | null;
}

/** A model that answers. */
export interface ServedModel extends AnsweringModel {
  readonly facts: ModelFacts;
}

/** A model while somebody uses it: it stays loaded until then. */
export interface ModelUse extends Disposable {
  readonly model: ServedModel;
}

/** The models that a server offers. */
export interface ModelDirectory {
  /** In the order in which they were named; the first answers where no model is named. At least one. */
  list(): readonly OfferedModel[];
  /** What has this id or alias. */
  find(name: string): OfferedModel | null;
  /**
   * Loads a model where it is not, and keeps it until the use is disposed.
   * @param keepMs how long it stays loaded after that, instead of what its server says; Infinity for ever
   * @throws ButterflyError NOT_FOUND; MODEL_TOO_LARGE and others where it cannot be loaded; CANCELLED, TIMEOUT
   */
  use(id: string, options?: { readonly signal?: AbortSignal; readonly keepMs?: number }): Promise<ModelUse>;
  /** Unloads a model once nobody uses it. @throws ButterflyError NOT_FOUND, TIMEOUT; REQUEST_UNSUPPORTED where it cannot be */
  unload(id: string): Promise<void>;
  /** Of all that are loaded. */
  status(): EngineStatus;
}

/** What the API serves, and with what. */
export interface ApiContext {
  readonly models: ModelDirectory;
  /** Hears what happens to requests. */
  readonly observe: Observer;
  readonly clock: Clock;
  readonly http: HttpSettings;
  readonly access: ApiAccess;
  /** Absent where there is nothing to administrate. */
  readonly administration?: ClusterAdministration;
}
