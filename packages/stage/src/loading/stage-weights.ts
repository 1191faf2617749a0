import { ensure } from '@butterfly/common';
import { type Backend, type BufferType, type Tensor, dtype } from '@butterfly/ggml';
import type { ModelSpec, ModelTensor, WeightUse } from '@butterfly/model';
import type { TensorSource, WeightMemory } from '@butterfly/weights';
import { chooseBufferType } from './buffer-choice.js';
import { SharedWeights } from './shared-weights.js';
import { loadTensors, type TensorTask } from './tensor-loading.js';
import {
  type PlacedWeight,
  type UsedWeight,
  WeightGroup,
  groupsOf,
  isConverted,
  weightShape,
} from './weight-group.js';

export type { UsedWeight } from './weight-group.js';

export interface LayerRange {
  readonly layerStart: number;
  /** Exclusive. */
  readonly layerEnd: number;
}

interface Placement extends UsedWeight {
  readonly group: WeightGroup;
}

/** Finds weights that must have been wanted. */
export function findIn(loaded: LoadedWeights): (name: string, use: WeightUse) => Tensor {
  return (name, use) => {
    const tensor = loaded.find(name, use);
    ensure(tensor !== null, () => `${name} is not loaded to be used for ${use}.`);
    return tensor;
  };
}

/** Each weight once for each of its uses. */
export function distinctUses(weights: readonly UsedWeight[]): UsedWeight[] {
  return [...new Map(weights.map((weight) => [`${weight.use} ${weight.source.name}`, weight])).values()];
}

/** Weights in native memory, each in the layout that its kernel prefers; what the process holds already is shared. */
export class LoadedWeights implements Disposable {
  /** Bytes of native memory that the weights take, wherever they lie and whoever else uses them. */
  readonly bytes: number;
  /** Of these, what others had loaded. */
  readonly sharedBytes: number;
  /** Bytes of all that is there after `load`: each tensor once, also where it has two uses. */
  readonly fileBytes: number;
  /** With whose kernels read them. */
  readonly #groups = new Map<WeightGroup, Backend>();
  /** Those that are to be loaded. */
  readonly #missing = new Set<WeightGroup>();
  readonly #placements: readonly Placement[];
  readonly #tensors: ReadonlyMap<string, Tensor>;

  /**
   * Chooses layouts, takes what is held already and allocates the rest; `load` then fills it.
   * @param host what weights are converted on
   * @param homeOf whose kernels read a weight; those of the host by default
   * @param shared by all stages of the process; by default with none
   * @throws ButterflyError COMPUTE_FAILED when memory is short
   */
  constructor(
    private readonly host: Backend,
    private readonly spec: Pick<ModelSpec, 'files'>,
    wanted: readonly UsedWeight[],
    homeOf: (weight: UsedWeight) => Backend = () => host,
    private readonly shared = new SharedWeights(),
  ) {
    try {
      this.#placements = this.#place(placedWeights(wanted, homeOf));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    this.#tensors = new Map(
      this.#placements.map((each) => [`${each.use} ${each.source.name}`, each.group.tensor(each)]),
    );
    const groups = [...this.#groups.keys()];
    this.bytes = bytesOf(groups);
    this.sharedBytes = bytesOf(groups.filter((group) => !this.#missing.has(group)));
    this.fileBytes = fileBytesOf(this.#placements);
  }

  /** The tensor of a weight for this use; null for one that was not wanted. */
  find(name: string, use: WeightUse): Tensor | null {
    return this.#tensors.get(`${use} ${name}`) ?? null;
  }

  /**
   * Fills the memory of the kernels' own layouts from images where there are any. Reads every other tensor once, range by
   * range, straight into its memory; those in a layout of the kernels' own, and those with two uses, pass through native
   * staging buffers of the largest of them, because ggml converts whole tensors. What others had loaded is there, and
   * what was loaded is theirs too from then on.
   */
  async load(source: TensorSource, onProgress: (loadedBytes: number) => void): Promise<void> {
    const wanted = this.#placements.filter(({ group }) => this.#missing.has(group));
    let loaded = this.fileBytes - fileBytesOf(wanted);
    // Progress is told in bytes of the file, of which converted ones may be more.
    const onRead = (bytes: number): void => onProgress((loaded = Math.min(loaded + bytes, this.fileBytes)));
    const unkept: WeightMemory[] = [];
    const filled = new Set<WeightGroup>();
    const fillFromImages = async (): Promise<void> => {
      for (const group of this.#missing) {
        const memory = group.image(this.spec);
        if (!memory) continue;
        if (await source.images?.load(memory, onRead)) filled.add(group);
        else unkept.push(memory);
      }
    };
    const converted = new Set(
      wanted.filter(({ group }) => isConverted(group.type)).map((each) => each.source),
    );
    const plain = tasksOf(wanted.filter((each) => !converted.has(each.source)));
    // Neither may be left to itself where the other fails.
    const both = [fillFromImages(), this.#read(source, plain, onRead)];
    await Promise.allSettled(both);
    await Promise.all(both);
    const rest = tasksOf(
      wanted.filter(({ source: tensor, group }) => converted.has(tensor) && !filled.has(group)),
    );
    const waitedMs = await this.#read(source, rest, onRead);
    for (const memory of unkept) source.images?.keep(memory, waitedMs);
    for (const group of this.#missing) this.shared.offer(group);
    this.#missing.clear();
    if (loaded < this.fileBytes || wanted.length === 0) onProgress(this.fileBytes);
  }

  /**
   * Names of the vectors with values that are NaN or infinite. In most models nothing that is computed tells of them,
   * since matrix products quantize what they are given, which makes a plain number of a NaN.
   */
  unsoundVectors(): readonly string[] {
    const vectors = this.#placements.filter(({ source }) => source.type === dtype.F32 && isVector(source));
    return vectors.filter((each) => !isFinite(each)).map(({ source }) => source.name);
  }

  /** Bytes that are read by the kernels of this device. */
  bytesOn(home: Backend): number {
    return bytesOf([...this.#groups].filter(([, each]) => each === home).map(([group]) => group));
  }

  [Symbol.dispose](): void {
    for (const group of this.#groups.keys()) this.shared.leave(group);
    this.#groups.clear();
    this.#missing.clear();
  }

  /** Gives how many milliseconds reading waited for the conversion. */
  async #read(
    source: TensorSource,
    tasks: readonly TensorTask[],
    onRead: (bytes: number) => void,
  ): Promise<number> {
    const staged = tasks.filter(({ kind }) => kind === 'whole');
    const largest = Math.max(0, ...staged.map(({ tensor }) => tensor.bytes));
    // Three, so that one fills while two are converted; of each, no more is touched than is used.
    using first = staged.length > 0 ? this.host.allocate(largest) : null;
    using second = staged.length > 1 ? this.host.allocate(largest) : null;
    using third = staged.length > 2 ? this.host.allocate(largest) : null;
    const staging = [first, second, third].filter((buffer) => buffer !== null);
    return await loadTensors({ tasks, source, staging, onRead });
  }

  /** In the order in which they were wanted. */
  #place(placed: readonly PlacedWeight[]): Placement[] {
    const groupOf = new Map<UsedWeight, WeightGroup>();
    for (const plan of groupsOf(this.spec, placed)) {
      const held = this.shared.take(plan);
      const group = held ?? new WeightGroup(plan);
      this.#groups.set(group, plan.home);
      if (!held) this.#missing.add(group);
      for (const weight of plan.weights) groupOf.set(weight, group);
    }
    return placed.flatMap((weight): Placement[] => {
      const group = groupOf.get(weight);
      return group ? [{ source: weight.source, use: weight.use, group }] : [];
    });
  }
}

function placedWeights(
  wanted: readonly UsedWeight[],
  homeOf: (weight: UsedWeight) => Backend,
): PlacedWeight[] {
  const chosen = new Map<Backend, Map<string, BufferType>>();
  return wanted.map((weight): PlacedWeight => {
    const { source, use } = weight;
    const home = homeOf(weight);
    const shape = weightShape(source);
    const key = `${use} ${source.type} ${shape.join('x')}`;
    const types = chosen.get(home) ?? new Map<string, BufferType>();
    const type = types.get(key) ?? chooseBufferType(home, source.type, shape, use);
    chosen.set(home, types.set(key, type));
    return { source, use, home, type };
  });
}

/** What is to be read for these placements, each tensor once. */
function tasksOf(placements: readonly Placement[]): TensorTask[] {
  const byTensor = new Map<ModelTensor, Placement[]>();
  for (const placement of placements)
    byTensor.set(placement.source, [...(byTensor.get(placement.source) ?? []), placement]);
  return [...byTensor].map(([tensor, uses]): TensorTask => {
    const [only] = uses;
    if (uses.length === 1 && only?.group.type.isPlain)
      return { kind: 'inPlace', tensor, target: (at, bytes) => only.group.view(only, at, bytes) };
    if (uses.every(({ group }) => !group.type.isHost))
      return {
        kind: 'byRange',
        tensor,
        write: (at, bytes) => {
          for (const each of uses) each.group.write(each, at, bytes);
        },
      };
    return {
      kind: 'whole',
      tensor,
      place: async (staging) => {
        for (const each of uses) await each.group.setData(each, staging);
      },
    };
  });
}

/** A frequency may well be divided by infinity. */
function isFinite(placement: Placement): boolean {
  const { source, group } = placement;
  const bytes = new Uint8Array(source.bytes);
  group.read(placement, bytes);
  const isSound = source.name === 'rope_freqs.weight' ? isNumber : Number.isFinite;
  return new Float32Array(bytes.buffer).every((value) => isSound(value));
}

function bytesOf(groups: readonly WeightGroup[]): number {
  return groups.reduce((sum, { bytes }) => sum + bytes, 0);
}

function fileBytesOf(placements: readonly Placement[]): number {
  return [...new Set(placements.map(({ source }) => source))].reduce((sum, { bytes }) => sum + bytes, 0);
}

function isVector({ shape }: ModelTensor): boolean {
  return shape.length === 1;
}

function isNumber(value: number): boolean {
  return !Number.isNaN(value);
}
