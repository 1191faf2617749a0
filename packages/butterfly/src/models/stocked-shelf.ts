import { type Observer, systemClock } from '@butterfly/common';
import {
  type DeployedModel,
  type DraftOptions,
  FileServer,
  type Orchestrator,
} from '@butterfly/orchestrator';
import { tokenPieces, type TokenPieces } from '@butterfly/text';
import { contextTokens, servedModel } from './model.js';
import { ModelShelf } from './model-shelf.js';
import { type Placed, type ReadModel, ShelvedModel } from './shelved-model.js';
import type { ModelSource, ServingOptions } from '../serving-options.js';

type StockOptions = Pick<
  ServingOptions,
  | 'models'
  | 'draft'
  | 'keepMs'
  | 'openModel'
  | 'openPrompts'
  | 'capacity'
  | 'numerics'
  | 'wishes'
  | 'speculation'
  | 'mtp'
  | 'verifyRate'
  | 'devices'
  | 'workersElsewhere'
  | 'log'
> & { readonly orchestrator: Orchestrator; readonly observe: Observer };

interface Stocked {
  readonly shelved: ShelvedModel;
  readonly read: ReadModel;
}

/**
 * A shelf with all models that are to be offered, which begin to load: the smallest first, since what others leave of the memory
 * of a worker is still enough for some layers of a large one.
 * @throws ButterflyError as `openModel` and `openPrompts` do, CONFIG_INVALID for two with one name
 */
export async function stockedShelf(
  options: StockOptions,
): Promise<{ readonly models: ModelShelf; readonly first: ReadModel['model'] }> {
  const { orchestrator } = options;
  const shelf = new ModelShelf({ clock: systemClock, workers: () => orchestrator.workers });
  const stock = async (source: ModelSource, draft: ShelvedModel | null): Promise<Stocked> => {
    const read = await readModel(source, options);
    const shelved = shelvedModel({ source, read, draft }, shelf, options);
    return { shelved, read };
  };
  const draft = options.draft ? await stock(options.draft, null) : null;
  const stocked: Stocked[] = [];
  for (const source of options.models)
    stocked.push(await stock(source, stocked.length === 0 ? (draft?.shelved ?? null) : null));
  if (draft) stocked.push(draft);
  for (const { shelved } of stocked) shelf.add(shelved);
  // Whoever is guessed for needs it there.
  const orderOf = (each: Stocked): number => (each === draft ? 0 : each.read.facts.bytes);
  const bySize = [...stocked].sort((a, b) => orderOf(a) - orderOf(b));
  for (const { shelved, read } of bySize) await shelved.begin(read);
  const [first] = stocked;
  if (!first) throw new RangeError('A server offers some model.');
  return { models: shelf, first: first.read.model };
}

async function readModel({ path }: ModelSource, options: StockOptions): Promise<ReadModel> {
  const model = await options.openModel(path);
  try {
    const prompts = await options.openPrompts(model);
    // Takes a while to load, and nobody else needs it.
    const { factsOf } = await import('./model-facts.js');
    const isBound = options.models.length > 1;
    const tokens = contextTokens(model.spec, options.capacity.contextTokens, options.log, isBound);
    return { model, prompts, facts: factsOf(model, prompts), contextTokens: tokens };
  } catch (error) {
    model.vocabulary[Symbol.dispose]();
    throw error;
  }
}

function shelvedModel(
  {
    source,
    read: { model, facts, contextTokens: tokens },
    draft,
  }: {
    readonly source: ModelSource;
    readonly read: ReadModel;
    /** Guesses for it, and stays loaded as long as it does. */
    readonly draft: ShelvedModel | null;
  },
  shelf: ModelShelf,
  options: StockOptions,
): ShelvedModel {
  const { orchestrator, keepMs, observe } = options;
  const shelved: ShelvedModel = new ShelvedModel(
    {
      ...{ id: model.id, aliases: source.aliases, orchestrator, keepMs, observe },
      clock: systemClock,
      read: () => readModel(source, options),
      deploy: (read) => place(read, draft, options),
      makeRoom: () => shelf.makeRoom(shelved),
    },
    { facts, contextTokens: tokens, vocabularySize: model.vocabulary.size },
  );
  return shelved;
}

/** With its draft model loaded, where it has one. */
async function place(read: ReadModel, draft: ShelvedModel | null, options: StockOptions): Promise<Placed> {
  const use = draft && (await draft.use());
  try {
    const vocabulary = madeOnce(() => tokenPieces(use?.model.vocabulary ?? read.model.vocabulary));
    const guessing = use ? { engine: use.model.engine, vocabulary } : undefined;
    const deployed = await deploy(read, guessing, options);
    return { deployed, [Symbol.dispose]: () => use?.[Symbol.dispose]() };
  } catch (error) {
    use?.[Symbol.dispose]();
    throw error;
  }
}

/** With the model's files held open from before anybody may ask for them. */
async function deploy(
  { model, contextTokens: tokens }: ReadModel,
  draft: DraftOptions | undefined,
  options: StockOptions,
): Promise<DeployedModel> {
  const { orchestrator, observe, numerics, wishes, speculation, mtp, verifyRate } = options;
  const { parallel, stateCheckpoints: checkpoints, windowCache } = options.capacity;
  const spec = servedModel(model.spec, {
    ...{ contextTokens: tokens, parallel, checkpoints, windowCache, mtp, speculation },
  });
  const files = new FileServer(spec);
  await files.hold({ clock: systemClock, observe });
  try {
    const expected = options.devices.length + options.workersElsewhere;
    return orchestrator.deploy({
      ...{ spec, modelId: model.id, numerics, wishes, speculation, verifyRate, files, draft },
      capacity: { contextTokens: tokens, parallel },
      // Whoever is gone is not waited for again.
      workersExpected: orchestrator.workers === 0 ? expected : Math.min(expected, orchestrator.workers),
      vocabulary: madeOnce(() => tokenPieces(model.vocabulary)),
    });
  } catch (error) {
    await files.close();
    throw error;
  }
}

/** Most servers are never asked for it. */
function madeOnce(make: () => TokenPieces): () => TokenPieces {
  let made: TokenPieces | null = null;
  return () => (made ??= make());
}
