import { ensure } from '@butterfly/common';
import {
  type Backend,
  type BufferType,
  Graph,
  type Tensor,
  TensorMemory,
  cpuFeatures,
  dtype,
  shapeOf,
} from '@butterfly/ggml';
import { type ModelSpec, type ModelTensor, type WeightUse, modelFingerprint } from '@butterfly/model';
import type { TensorSource, WeightMemory } from '@butterfly/weights';
import { chooseBufferType } from './buffer-choice.js';
import { loadTensors, type TensorTask } from './tensor-loading.js';

export interface LayerRange {
  readonly layerStart: number;
  /** Exclusive. */
  readonly layerEnd: number;
}

/** A weight of a stage and how it is used; one that is used in two ways lies in two layouts. */
export interface UsedWeight {
  readonly source: ModelTensor;
  readonly use: WeightUse;
}

interface Placement extends UsedWeight {
  /** Whose kernels read it. */
  readonly home: Backend;
  readonly tensor: Tensor;
  readonly type: BufferType;
}

/** Finds weights that must have been wanted. */
export function findIn(loaded: LoadedWeights): (name: string, use: WeightUse) => Tensor {
  return (name, use) => {
    const tensor = loaded.find(name, use);
    ensure(tensor !== null, () => `${name} is not loaded to be used for ${use}.`);
    return tensor;
  };
}

/** Weights in native memory, each in the layout that its kernel prefers. */
export class LoadedWeights implements Disposable {
  /** Bytes of native memory that the weights take, wherever they lie. */
  readonly bytes: number;
  /** Bytes that `load` reads: each tensor once, also where it has two uses. */
  readonly fileBytes: number;
  readonly #graph: Graph;
  readonly #memories = new Map<BufferType, TensorMemory>();
  readonly #placements: readonly Placement[];
  readonly #tensors: ReadonlyMap<string, Tensor>;

  /**
   * Chooses layouts and allocates; `load` then fills it.
   * @param host what weights are converted on
   * @param homeOf whose kernels read a weight; those of the host by default
   * @throws ButterflyError COMPUTE_FAILED when memory is short
   */
  constructor(
    private readonly host: Backend,
    private readonly spec: Pick<ModelSpec, 'files'>,
    wanted: readonly UsedWeight[],
    homeOf: (weight: UsedWeight) => Backend = () => host,
  ) {
    this.#graph = new Graph(host.ggml, wanted.length + 1);
    try {
      this.#placements = this.#place(wanted, homeOf);
      this.#tensors = new Map(this.#placements.map((p) => [`${p.use} ${p.source.name}`, p.tensor]));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
    this.bytes = [...this.#memories.values()].reduce((sum, { bytes }) => sum + bytes, 0);
    const sources = new Set(this.#placements.map(({ source }) => source));
    this.fileBytes = [...sources].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** The tensor of a weight for this use; null for one that was not wanted. */
  find(name: string, use: WeightUse): Tensor | null {
    return this.#tensors.get(`${use} ${name}`) ?? null;
  }

  /**
   * Fills the memory of the kernels' own layouts from images where there are any. Reads every other tensor once, range by
   * range, straight into its memory; those in a layout of the kernels' own, and those with two uses, pass through native
   * staging buffers of the largest of them, because ggml converts whole tensors.
   */
  async load(source: TensorSource, onProgress: (loadedBytes: number) => void): Promise<void> {
    let loaded = 0;
    // Progress is told in bytes of the file, of which converted ones may be more.
    const onRead = (bytes: number): void => onProgress((loaded = Math.min(loaded + bytes, this.fileBytes)));
    const missing: WeightMemory[] = [];
    const filled = new Set<BufferType>();
    const fillFromImages = async (): Promise<void> => {
      for (const [type, memory] of this.#convertedMemory())
        if (await source.images?.load(memory, onRead)) filled.add(type);
        else missing.push(memory);
    };
    const converted = new Set(
      this.#placements.filter(({ type }) => isConverted(type)).map((each) => each.source),
    );
    const plain = this.#tasks((each) => !converted.has(each.source));
    // Neither may be left to itself where the other fails.
    const both = [fillFromImages(), this.#read(source, plain, onRead)];
    await Promise.allSettled(both);
    await Promise.all(both);
    const rest = this.#tasks(({ source: tensor, type }) => converted.has(tensor) && !filled.has(type));
    const waitedMs = await this.#read(source, rest, onRead);
    for (const memory of missing) source.images?.keep(memory, waitedMs);
    if (loaded < this.fileBytes) onProgress(this.fileBytes);
  }

  /**
   * Names of the vectors with values that are NaN or infinite. In most models nothing that is computed tells of them,
   * since matrix products quantize what they are given, which makes a plain number of a NaN.
   */
  unsoundVectors(): readonly string[] {
    const vectors = this.#placements.filter(({ source }) => source.type === dtype.F32 && isVector(source));
    return vectors.filter((each) => !this.#isFinite(each)).map(({ source }) => source.name);
  }

  /** A frequency may well be divided by infinity. */
  #isFinite({ source, tensor }: Placement): boolean {
    const bytes = new Uint8Array(source.bytes);
    this.#graph.read(tensor, bytes);
    const isSound = source.name === 'rope_freqs.weight' ? isNumber : Number.isFinite;
    return new Float32Array(bytes.buffer).every((value) => isSound(value));
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

  /** Memory in the kernels' own layouts, which this build of the kernels alone understands. */
  #convertedMemory(): [BufferType, WeightMemory][] {
    const { ggml } = this.host;
    const build = [ggml.ggmlVersion, process.arch, ...cpuFeatures(ggml)];
    return [...this.#memories].flatMap(([type, memory]): [BufferType, WeightMemory][] => {
      // The CPU's memory knows no bounds, and so is one piece.
      const [buffer] = memory.buffers;
      if (!isConverted(type) || !buffer) return [];
      const contents = this.#placements
        .filter((placement) => placement.type === type)
        .map(({ source, tensor }) => [source.name, memory.place(tensor).offset]);
      const meaning = JSON.stringify([build, type.name, modelFingerprint(this.spec), contents]);
      const { address, bytes } = buffer;
      const view = (at: number, length: number): Uint8Array | null =>
        buffer.isDisposed ? null : buffer.layoutView(at, length);
      return [[type, { meaning, address, bytes, view }]];
    });
  }

  /** What is to be read for these placements, each tensor once. */
  #tasks(isWanted: (placement: Placement) => boolean): TensorTask[] {
    const byTensor = new Map<ModelTensor, Placement[]>();
    for (const placement of this.#placements.filter(isWanted))
      byTensor.set(placement.source, [...(byTensor.get(placement.source) ?? []), placement]);
    return [...byTensor].map(([tensor, placements]): TensorTask => {
      const [only] = placements;
      if (placements.length === 1 && only?.type.isPlain) {
        const memory = this.#memories.get(only.type);
        if (memory)
          return { kind: 'inPlace', tensor, target: (at, bytes) => memory.view(only.tensor, at, bytes) };
      }
      if (placements.every(({ type }) => !type.isHost))
        return {
          kind: 'byRange',
          tensor,
          write: (at, bytes) => {
            for (const placement of placements) this.#graph.write(placement.tensor, bytes, at);
          },
        };
      return {
        kind: 'whole',
        tensor,
        place: async (staging) => {
          for (const placement of placements)
            await this.#graph.setData(placement.tensor, staging, tensor.bytes);
        },
      };
    });
  }

  [Symbol.dispose](): void {
    for (const memory of this.#memories.values()) memory[Symbol.dispose]();
    this.#memories.clear();
    this.#graph[Symbol.dispose]();
  }

  #place(wanted: readonly UsedWeight[], homeOf: (weight: UsedWeight) => Backend): Placement[] {
    const chosen = new Map<Backend, Map<string, BufferType>>();
    const placements = wanted.map((weight): Placement => {
      const { source, use } = weight;
      const home = homeOf(weight);
      const shape = shapeOf(source.shape[0] ?? 1, source.shape[1], source.shape[2], source.shape[3]);
      const key = `${use} ${source.type} ${shape.join('x')}`;
      const types = chosen.get(home) ?? new Map<string, BufferType>();
      const type = types.get(key) ?? chooseBufferType(home, source.type, shape, use);
      chosen.set(home, types.set(key, type));
      return { source, use, home, tensor: this.#graph.tensor(source.type, shape), type };
    });
    for (const [type, home] of new Map(placements.map((each) => [each.type, each.home]))) {
      const tensors = placements.filter((each) => each.type === type).map(({ tensor }) => tensor);
      const memory = new TensorMemory(home, this.#graph, tensors, type);
      this.#memories.set(type, memory);
      for (const buffer of memory.buffers) buffer.markWeights();
    }
    return placements;
  }

  /** Bytes that are read by the kernels of this device. */
  bytesOn(home: Backend): number {
    const types = new Set(this.#placements.filter((each) => each.home === home).map(({ type }) => type));
    return [...types].reduce((sum, type) => sum + (this.#memories.get(type)?.bytes ?? 0), 0);
  }
}

/** Whether the kernels have a layout of their own there, into which whole tensors are converted. */
function isConverted(type: BufferType): boolean {
  return type.isHost && !type.isPlain;
}

function isVector({ shape }: ModelTensor): boolean {
  return shape.length === 1;
}

function isNumber(value: number): boolean {
  return !Number.isNaN(value);
}

/** Each weight once for each of its uses. */
export function distinctUses(weights: readonly UsedWeight[]): UsedWeight[] {
  return [...new Map(weights.map((weight) => [`${weight.use} ${weight.source.name}`, weight])).values()];
}
