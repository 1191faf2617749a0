import { ensure } from '@butterfly/common';
import {
  type Backend,
  type BufferType,
  Graph,
  type NativeBuffer,
  type Shape,
  type Tensor,
  TensorMemory,
  cpuFeatures,
  shapeOf,
} from '@butterfly/ggml';
import {
  type ModelSpec,
  type ModelTensor,
  type WeightUse,
  layerOf,
  modelFingerprint,
} from '@butterfly/model';
import type { WeightMemory } from '@butterfly/weights';

/** A weight of a stage and how it is used; one that is used in two ways lies in two layouts. */
export interface UsedWeight {
  readonly source: ModelTensor;
  readonly use: WeightUse;
}

/** A weight with the place that was chosen for it. */
export interface PlacedWeight extends UsedWeight {
  /** Whose kernels read it. */
  readonly home: Backend;
  readonly type: BufferType;
}

/** The same weights in the same layout of the same memory, and so the same bytes, whoever uses them. */
export interface GroupPlan {
  readonly key: string;
  readonly home: Backend;
  readonly type: BufferType;
  readonly weights: readonly UsedWeight[];
}

/** What of a file is held and let go together: the weights of one layer in one layout, and each that is of no layer. */
export function groupsOf(spec: Pick<ModelSpec, 'files'>, placed: readonly PlacedWeight[]): GroupPlan[] {
  const byPlace = new Map<string, PlacedWeight[]>();
  for (const weight of placed) {
    const { source, use, home, type } = weight;
    const part = layerOf(source) ?? `${source.name} ${use}`;
    const place = JSON.stringify([home.plain.name, type.name, String(type.pointer), part]);
    const group = byPlace.get(place);
    if (group) group.push(weight);
    else byPlace.set(place, [weight]);
  }
  const fingerprint = modelFingerprint(spec);
  return [...byPlace].flatMap(([place, weights]): GroupPlan[] => {
    const [first] = weights;
    const contents = weights.map(({ source, use }) => [source.name, use, source.type, source.shape]);
    const key = JSON.stringify([fingerprint, place, contents]);
    return first ? [{ key, home: first.home, type: first.type, weights }] : [];
  });
}

/** Weights of one layer in native memory of one layout. */
export class WeightGroup implements Disposable {
  readonly key: string;
  readonly type: BufferType;
  readonly weights: readonly UsedWeight[];
  readonly bytes: number;
  /** Which build of the kernels understands its layout. */
  readonly #build: readonly string[];
  readonly #graph: Graph;
  readonly #memory: TensorMemory;
  readonly #tensors: ReadonlyMap<string, Tensor>;

  /** Allocates. @throws ButterflyError COMPUTE_FAILED when memory is short */
  constructor({ key, home, type, weights }: GroupPlan) {
    this.key = key;
    this.type = type;
    this.weights = weights;
    this.#build = [home.ggml.ggmlVersion, process.arch, ...cpuFeatures(home.ggml)];
    this.#graph = new Graph(home.ggml, weights.length + 1);
    try {
      const tensors = weights.map(({ source }) => this.#graph.tensor(source.type, weightShape(source)));
      this.#memory = new TensorMemory(home, this.#graph, tensors, type);
      for (const buffer of this.#memory.buffers) buffer.markWeights();
      this.#tensors = new Map(
        weights.flatMap((weight, index) => {
          const tensor = tensors[index];
          return tensor ? [[nameOf(weight), tensor] as const] : [];
        }),
      );
    } catch (error) {
      this.#graph[Symbol.dispose]();
      throw error;
    }
    this.bytes = this.#memory.bytes;
  }

  /** @throws ButterflyError COMPUTE_INVALID for a weight of another group */
  tensor(weight: UsedWeight): Tensor {
    const tensor = this.#tensors.get(nameOf(weight));
    ensure(tensor !== undefined, () => `${weight.source.name} is not among these weights.`);
    return tensor;
  }

  /** A part of a weight, in plain memory of the host. */
  view(weight: UsedWeight, offset: number, bytes: number): Uint8Array {
    return this.#memory.view(this.tensor(weight), offset, bytes);
  }

  write(weight: UsedWeight, offset: number, bytes: Uint8Array): void {
    this.#graph.write(this.tensor(weight), bytes, offset);
  }

  read(weight: UsedWeight, target: Uint8Array): void {
    this.#graph.read(this.tensor(weight), target);
  }

  /** Takes a whole tensor out of a staging buffer, converted where this is a layout of the kernels' own. */
  setData(weight: UsedWeight, staging: NativeBuffer): Promise<void> {
    return this.#graph.setData(this.tensor(weight), staging, weight.source.bytes);
  }

  /** Its memory where the kernels have a layout of their own, which this build of the kernels alone understands. */
  image(files: Pick<ModelSpec, 'files'>): WeightMemory | null {
    // The CPU's memory knows no bounds, and so is one piece.
    const [buffer] = this.#memory.buffers;
    if (!isConverted(this.type) || !buffer) return null;
    const contents = this.weights.map((weight) => [
      weight.source.name,
      this.#memory.place(this.tensor(weight)).offset,
    ]);
    const meaning = JSON.stringify([this.#build, this.type.name, modelFingerprint(files), contents]);
    const { address, bytes } = buffer;
    const view = (at: number, length: number): Uint8Array | null =>
      buffer.isDisposed ? null : buffer.layoutView(at, length);
    return { meaning, address, bytes, view };
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
    this.#graph[Symbol.dispose]();
  }
}

export function weightShape({ shape }: ModelTensor): Shape {
  return shapeOf(shape[0] ?? 1, shape[1], shape[2], shape[3]);
}

/** Whether the kernels have a layout of their own there, into which whole tensors are converted. */
export function isConverted(type: BufferType): boolean {
  return type.isHost && !type.isPlain;
}

function nameOf({ source, use }: UsedWeight): string {
  return `${use} ${source.name}`;
}
