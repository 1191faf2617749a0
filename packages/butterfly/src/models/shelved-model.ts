import type { ModelFacts, ModelState, ModelUse, OfferedModel, ServedModel } from '@butterfly/api';
import {
  ButterflyError,
  type Clock,
  deadlines,
  exitCodes,
  type Observer,
  toButterflyError,
} from '@butterfly/common';
import type { DeployedModel, Orchestrator } from '@butterfly/orchestrator';
import type { PromptMaker } from '@butterfly/text';
import type { OpenedModel } from './opened-model.js';

/** A model file that was opened, with what makes prompts for it. */
export interface ReadModel {
  readonly model: OpenedModel;
  readonly prompts: PromptMaker;
  readonly facts: ModelFacts;
  readonly contextTokens: number;
}

export interface ShelvedModelOptions {
  readonly id: string;
  readonly aliases: readonly string[];
  /** Reads the file anew. @throws ButterflyError as `openModel` does */
  readonly read: () => Promise<ReadModel>;
  /** @throws ButterflyError as `Orchestrator.deploy` does */
  readonly deploy: (read: ReadModel) => Promise<Placed>;
  readonly orchestrator: Pick<Orchestrator, 'withdraw'>;
  /** How long it stays loaded when nobody uses it; Infinity for ever. */
  readonly keepMs: number;
  /** Unloads something that nobody uses, for this one. */
  readonly makeRoom: () => Promise<Room>;
  readonly clock: Clock;
  readonly observe: Observer;
}

/** A model on its workers; disposing it lets go of what it needs beside them. */
export interface Placed extends Disposable {
  readonly deployed: DeployedModel;
}

/** Whether room was made for a model, or what is in the way. */
export type Room =
  | { readonly kind: 'made' }
  /** All else that is loaded is in use. */
  | { readonly kind: 'inUse'; readonly by: readonly string[] }
  /** Nothing else is loaded. */
  | { readonly kind: 'none' };

interface Loaded {
  readonly read: ReadModel;
  readonly deployed: DeployedModel;
  /** What it needs beside its workers is let go with it. */
  readonly placed: Placed;
  readonly served: ServedModel;
  uses: number;
  /** Called when nobody uses it any more. */
  onUnused: () => void;
}

const pollMs = 50;

/** One model that a server offers: loaded when somebody asks for it, and unloaded when nobody has for a while. */
export class ShelvedModel {
  #state: ModelState = 'unloaded';
  #failure: ButterflyError | null = null;
  #loaded: Loaded | null = null;
  #loading: Promise<Loaded> | null = null;
  #unloading: Promise<void> = Promise.resolve();
  #expiresMs: number | null = null;
  #cancelExpiry: () => void = () => undefined;
  #usedMs = -Infinity;
  #isClosed = false;
  readonly #createdS = Math.floor(Date.now() / 1000);

  /** @param known what was found when the file was first read */
  constructor(
    private readonly options: ShelvedModelOptions,
    private readonly known: {
      readonly facts: ModelFacts;
      readonly contextTokens: number;
      readonly vocabularySize: number;
    },
  ) {}

  get id(): string {
    return this.options.id;
  }

  get aliases(): readonly string[] {
    return this.options.aliases;
  }

  /** Null while it is not loaded. */
  get deployed(): DeployedModel | null {
    return this.#loaded?.deployed ?? null;
  }

  /** When it was last asked for, by the clock. */
  get usedMs(): number {
    return this.#usedMs;
  }

  /** Whether it takes memory that nobody needs now. */
  get isIdle(): boolean {
    return this.#loaded?.uses === 0 && this.#state === 'loaded';
  }

  /** Whether somebody waits for it. */
  get isWanted(): boolean {
    return (this.#loaded?.uses ?? 0) > 0 && this.#loaded?.deployed.isLive === false;
  }

  get offered(): OfferedModel {
    const { id, aliases } = this;
    const isStarting = this.#state === 'loaded' && this.#loaded?.deployed.isLive === false;
    return {
      ...{ id, aliases, createdS: this.#createdS, failure: this.#failure, expiresMs: this.#expiresMs },
      ...this.known,
      state: isStarting ? 'loading' : this.#state,
      loadedBytes: this.#loaded?.deployed.bytes ?? 0,
    };
  }

  /**
   * Deploys what was read, without waiting until it is loaded: requests wait in its engine.
   * @throws ButterflyError as `Orchestrator.deploy` does
   */
  async begin(read: ReadModel): Promise<DeployedModel> {
    const loaded = await this.#deploy(read);
    this.#take(loaded);
    return loaded.deployed;
  }

  /** @throws ButterflyError what keeps it from being loaded; CANCELLED, TIMEOUT */
  async use({
    signal,
    keepMs,
  }: { readonly signal?: AbortSignal; readonly keepMs?: number } = {}): Promise<ModelUse> {
    this.#usedMs = this.options.clock.nowMs();
    for (;;) {
      const loaded = this.#loaded ?? (await this.#within(this.#load(), signal));
      // It may have been unloaded between its loading and this.
      if (this.#loaded !== loaded) continue;
      this.#stay();
      loaded.uses += 1;
      let isOver = false;
      const end = (): void => {
        if (isOver) return;
        isOver = true;
        this.#unused(loaded, keepMs ?? this.options.keepMs);
      };
      return { model: loaded.served, [Symbol.dispose]: end };
    }
  }

  /** Unloads it once what runs has ended, for which it waits for `deadlines.drainMs`. */
  async unload(): Promise<void> {
    await this.#loading?.catch(() => undefined);
    const loaded = this.#loaded;
    if (!loaded) {
      await this.#unloading;
      return;
    }
    this.#stay();
    this.#loaded = null;
    this.#state = 'unloading';
    this.#unloading = this.#letGo(loaded, deadlines.drainMs).then(() => {
      if (this.#state === 'unloading') this.#state = 'unloaded';
    });
    await this.#unloading;
  }

  /** Nothing is loaded any more, nor waited for. */
  close(): void {
    this.#isClosed = true;
    this.#stay();
  }

  /** Gives it up for now, with the reason. */
  async fail(error: ButterflyError): Promise<void> {
    const loaded = this.#loaded;
    this.#loaded = null;
    this.#state = 'failed';
    this.#failure = error;
    if (loaded) await this.#letGo(loaded, 0);
  }

  #load(): Promise<Loaded> {
    return (this.#loading ??= this.#loadNow().finally(() => (this.#loading = null)));
  }

  async #loadNow(): Promise<Loaded> {
    await this.#unloading;
    const { id, observe } = this.options;
    this.#state = 'loading';
    this.#failure = null;
    try {
      const loaded = await this.#deploy(await this.options.read());
      try {
        await this.#live(loaded.deployed);
      } catch (error) {
        await this.#letGo(loaded, 0);
        throw error;
      }
      this.#take(loaded);
      // Whoever asked may be gone by now.
      this.#unusedAfter(this.options.keepMs);
      observe({ kind: 'modelLoaded', modelId: id });
      return loaded;
    } catch (thrown) {
      const error = toButterflyError(thrown);
      this.#state = 'failed';
      this.#failure = error;
      observe({ kind: 'modelNotLoaded', modelId: id, error });
      throw error;
    }
  }

  async #deploy(read: ReadModel): Promise<Loaded> {
    try {
      const placed = await this.options.deploy(read);
      const { deployed } = placed;
      const { vocabulary } = read.model;
      const served = {
        id: this.id,
        engine: deployed.engine,
        vocabulary,
        prompts: read.prompts,
        facts: read.facts,
      };
      return { read, deployed, placed, served, uses: 0, onUnused: () => undefined };
    } catch (error) {
      await closeRead(read);
      throw error;
    }
  }

  #take(loaded: Loaded): void {
    this.#loaded = loaded;
    this.#state = 'loaded';
    this.#failure = null;
  }

  /** Resolves when a plan is in force. @throws ButterflyError what will keep it from that, even where others made room */
  async #live(deployed: DeployedModel): Promise<void> {
    let seen: ButterflyError | null = null;
    while (!deployed.isLive) {
      if (this.#isClosed) throw new ButterflyError('CANCELLED', 'The server stops.');
      const { trouble } = deployed;
      if (trouble && trouble !== seen && isLasting(trouble)) {
        seen = trouble;
        if (trouble.code !== 'MODEL_TOO_LARGE') throw trouble;
        const room = await this.options.makeRoom();
        if (room.kind === 'none') throw trouble;
        if (room.kind === 'inUse') throw this.#crowded(room.by);
      }
      await this.#pause();
    }
  }

  #crowded(by: readonly string[]): ButterflyError {
    return new ButterflyError(
      'CLUSTER_NOT_READY',
      `"${this.id}" does not fit beside ${by.map((id) => `"${id}"`).join(', ')}, which ${by.length === 1 ? 'is' : 'are'} in use; try again when nobody uses ${by.length === 1 ? 'it' : 'them'}, or let more workers join.`,
    );
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.options.clock.after(pollMs, resolve));
  }

  #stay(): void {
    this.#cancelExpiry();
    this.#cancelExpiry = () => undefined;
    this.#expiresMs = null;
  }

  #unused(loaded: Loaded, keepMs: number): void {
    loaded.uses -= 1;
    if (loaded.uses > 0) return;
    loaded.onUnused();
    if (this.#loaded === loaded) this.#unusedAfter(keepMs);
  }

  #unusedAfter(keepMs: number): void {
    this.#stay();
    if (keepMs === Infinity || this.#isClosed) return;
    this.#expiresMs = Date.now() + keepMs;
    this.#cancelExpiry = this.options.clock.after(Math.min(keepMs, timerMsMax), () => {
      if (this.isIdle) void this.unload();
    });
  }

  async #letGo(loaded: Loaded, timeoutMs: number): Promise<void> {
    this.options.observe({ kind: 'modelUnloading', modelId: this.id });
    await this.options.orchestrator.withdraw(loaded.deployed, timeoutMs);
    loaded.placed[Symbol.dispose]();
    // Words and tokens are turned into each other until the last answer is out.
    if (loaded.uses > 0)
      await new Promise<void>((resolve) => {
        const cancel = this.options.clock.after(deadlines.drainMs, resolve);
        loaded.onUnused = () => {
          cancel();
          resolve();
        };
      });
    await closeRead(loaded.read);
  }

  /** Waits no longer than a request may. @throws ButterflyError CANCELLED, TIMEOUT, and what the work throws */
  async #within(work: Promise<Loaded>, signal: AbortSignal | undefined): Promise<Loaded> {
    // It goes on for whoever asks next, and is told of in the log.
    work.catch(() => undefined);
    let end: () => void = () => undefined;
    const ended = new Promise<never>((_, reject) => {
      const gone = (): void =>
        reject(new ButterflyError('CANCELLED', 'Nobody waits for the model any more.'));
      const cancel = this.options.clock.after(deadlines.requestMs, () =>
        reject(new ButterflyError('TIMEOUT', `The model was not loaded within ${deadlines.requestMs} ms.`)),
      );
      signal?.addEventListener('abort', gone, { once: true });
      if (signal?.aborted) gone();
      end = () => {
        cancel();
        signal?.removeEventListener('abort', gone);
      };
    });
    try {
      return await Promise.race([work, ended]);
    } finally {
      end();
    }
  }
}

/** Longer ones would fire at once. */
const timerMsMax = 2 ** 31 - 1;

async function closeRead({ model, prompts }: ReadModel): Promise<void> {
  await prompts.close();
  model.vocabulary[Symbol.dispose]();
}

/** A worker that died or a plan that was replaced may be better the next time; a model that does not fit is not. */
export function isLasting({ code, kind }: ButterflyError): boolean {
  return kind.exitCode !== exitCodes.network && code !== 'CANCELLED';
}
