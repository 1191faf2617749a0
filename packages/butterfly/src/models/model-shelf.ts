import type { ModelDirectory, ModelUse, OfferedModel } from '@butterfly/api';
import { ButterflyError, type Clock } from '@butterfly/common';
import type { EngineStatus } from '@butterfly/engine';
import type { DeployedModel } from '@butterfly/orchestrator';
import type { Room, ShelvedModel } from './shelved-model.js';

/** Models that were loaded and lost their place are looked for this often. */
const lookEveryMs = 200;

/** All models that a server offers: which are loaded follows from who asks for them, and from the memory of the cluster. */
export class ModelShelf implements ModelDirectory {
  readonly #models: ShelvedModel[] = [];
  #cancelLook: () => void = () => undefined;
  /** What was last done about, so that each trouble is dealt with once. */
  readonly #seen = new WeakSet<ButterflyError>();
  #isClosed = false;

  constructor(private readonly around: { readonly clock: Clock; readonly workers: () => number }) {}

  /** @throws ButterflyError CONFIG_INVALID for a name that another one has */
  add(model: ShelvedModel): void {
    for (const name of [model.id, ...model.aliases])
      if (this.#named(name))
        throw new ButterflyError(
          'CONFIG_INVALID',
          `Two models would be called "${name}"; give one of the files another name, or drop the alias.`,
        );
    this.#models.push(model);
  }

  /** From now on those that lose their place are given another where others are idle. */
  watch(): void {
    if (this.#isClosed) return;
    this.#cancelLook = this.around.clock.after(lookEveryMs, () => {
      void this.#look().then(() => this.watch());
    });
  }

  list(): readonly OfferedModel[] {
    return this.#models.map(({ offered }) => offered);
  }

  find(name: string): OfferedModel | null {
    return this.#named(name)?.offered ?? null;
  }

  async use(
    id: string,
    options: { readonly signal?: AbortSignal; readonly keepMs?: number } = {},
  ): Promise<ModelUse> {
    return this.#require(id).use(options);
  }

  async unload(id: string): Promise<void> {
    await this.#require(id).unload();
  }

  /** Those that are loaded, or are being loaded by their server's start. */
  get deployed(): readonly DeployedModel[] {
    return this.#models.flatMap(({ deployed }) => deployed ?? []);
  }

  status(): EngineStatus {
    const loaded = this.deployed.map(({ id, engine }) => ({ id, ...engine.status() }));
    if (loaded.length === 0) return this.#unloadedStatus();
    const waiting = loaded.filter(({ ready }) => !ready);
    const detailOf = ({ id, detail }: { readonly id: string; readonly detail: string }): string =>
      this.#models.length === 1 ? detail : `${id}: ${detail}`;
    return {
      ready: waiting.length === 0,
      detail: (waiting.length === 0 ? loaded.slice(0, 1) : waiting).map(detailOf).join('; '),
      running: loaded.reduce((sum, { running }) => sum + running, 0),
      queued: loaded.reduce((sum, { queued }) => sum + queued, 0),
      retryAfterMs: Math.max(...loaded.map(({ retryAfterMs }) => retryAfterMs)),
    };
  }

  /** Unloads what nobody uses, the longest unused first, for a model that lacks memory. */
  async makeRoom(wanted: ShelvedModel): Promise<Room> {
    const others = this.#models.filter((model) => model !== wanted && model.deployed !== null);
    if (others.length === 0) return { kind: 'none' };
    const [idle] = others.filter(({ isIdle }) => isIdle).sort((a, b) => a.usedMs - b.usedMs);
    if (!idle) return { kind: 'inUse', by: others.map(({ id }) => id) };
    await idle.unload();
    return { kind: 'made' };
  }

  /** Nothing is looked after any more. What is loaded ends with the orchestrator. */
  close(): void {
    this.#isClosed = true;
    this.#cancelLook();
    for (const model of this.#models) model.close();
  }

  /** What could not be loaded at the start, and why; it is given up, and tried again when it is asked for. */
  async giveUp(deployed: DeployedModel, trouble: ButterflyError): Promise<void> {
    await this.#models.find((model) => model.deployed === deployed)?.fail(trouble);
  }

  /** Disposes what the models hold in this process, after their orchestrator has stopped. */
  async unloadAll(): Promise<void> {
    await Promise.all(this.#models.map((model) => model.unload()));
  }

  /** A model that was loaded may not fit any more, after a worker was lost: those that wait for it come before what is idle. */
  async #look(): Promise<void> {
    for (const model of this.#models) {
      const trouble = model.isWanted ? model.deployed?.trouble : null;
      if (trouble?.code !== 'MODEL_TOO_LARGE' || this.#seen.has(trouble)) continue;
      this.#seen.add(trouble);
      await this.makeRoom(model);
    }
  }

  #unloadedStatus(): EngineStatus {
    const workers = this.around.workers();
    return {
      ready: workers > 0,
      detail: workers > 0 ? 'no model is loaded; each is when it is asked for' : 'no worker has joined',
      running: 0,
      queued: 0,
      retryAfterMs: 1_000,
    };
  }

  #named(name: string): ShelvedModel | undefined {
    return this.#models.find(({ id, aliases }) => id === name || aliases.includes(name));
  }

  #require(name: string): ShelvedModel {
    const model = this.#named(name);
    if (model) return model;
    throw new ButterflyError('NOT_FOUND', `There is no model "${name}" here.`, { param: 'model' });
  }
}
