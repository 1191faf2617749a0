import {
  type AdamwState,
  type CpuBackend,
  Graph,
  type NativeBuffer,
  type Shape,
  type Tensor,
  adamwValuesShape,
  dtype,
  shapeOf,
} from '@butterfly/ggml';
import { createRandom } from './random.js';
import { planParameters, type ModelShape, type ParameterPlan } from './shape.js';

/** A weight with its optimizer state, in native memory. */
export interface Parameter extends AdamwState {
  readonly plan: ParameterPlan;
  readonly tensor: Tensor;
}

/** The weights of a model in training, F32, and what stays in memory beside them. */
export class Parameters implements Disposable {
  readonly list: readonly Parameter[];
  /** Values of the AdamW step for matrices, and for vectors, which do not decay. */
  readonly matrixValues: Tensor;
  readonly vectorValues: Tensor;
  /** F32 [vocabulary, vocabulary] with ones in the diagonal: its rows are the labels of the cross entropy. */
  readonly identity: Tensor;
  /** F32 [1]: the gradient of the loss. */
  readonly one: Tensor;
  readonly #graph: Graph;
  readonly #buffer: NativeBuffer;
  readonly #byName: ReadonlyMap<string, Parameter>;

  constructor(backend: CpuBackend, shape: ModelShape) {
    const plans = planParameters(shape);
    this.#graph = new Graph(backend.ggml, plans.length * 3 + 4);
    const tensors: Tensor[] = [];
    const make = (size: Shape): Tensor => {
      const tensor = this.#graph.tensor(dtype.F32, size);
      tensors.push(tensor);
      return tensor;
    };
    this.matrixValues = make(adamwValuesShape);
    this.vectorValues = make(adamwValuesShape);
    this.identity = make(shapeOf(shape.vocabulary, shape.vocabulary));
    this.one = make(shapeOf(1));
    this.list = plans.map((plan) => {
      const size = shapeOf(plan.columns, plan.rows ?? 1);
      const values = plan.rows === null ? this.vectorValues : this.matrixValues;
      return { plan, tensor: make(size), momentum: make(size), variance: make(size), values };
    });
    this.#byName = new Map(this.list.map((parameter) => [parameter.plan.name, parameter]));
    this.#buffer = this.#place(backend, tensors);
    this.values(this.one).fill(1);
    const identity = this.values(this.identity);
    for (let index = 0; index < shape.vocabulary; index++) identity[index * (shape.vocabulary + 1)] = 1;
  }

  get(name: string): Tensor {
    const parameter = this.#byName.get(name);
    if (!parameter) throw new RangeError(`there is no weight ${name}`);
    return parameter.tensor;
  }

  /** A view of the values; void after `dispose`. */
  values(tensor: Tensor): Float32Array {
    return new Float32Array(this.#graph.data(tensor));
  }

  /** Random first values, the same for the same seed. */
  initialize(seed: number): void {
    for (const { plan, tensor } of this.list) {
      const values = this.values(tensor);
      if (plan.rows === null) values.fill(1);
      else createRandom(`${seed} ${plan.name}`).fillNormal(values, plan.deviation);
    }
  }

  [Symbol.dispose](): void {
    this.#graph[Symbol.dispose]();
    this.#buffer[Symbol.dispose]();
  }

  #place(backend: CpuBackend, tensors: readonly Tensor[]): NativeBuffer {
    const { alignment } = backend.plain;
    let bytes = 0;
    const offsets = tensors.map((tensor) => {
      const offset = bytes;
      bytes += Math.ceil(this.#graph.bytesIn(backend.plain, tensor) / alignment) * alignment;
      return offset;
    });
    const buffer = backend.allocate(bytes);
    buffer.clear();
    for (const [index, tensor] of tensors.entries()) this.#graph.place(tensor, buffer, offsets[index] ?? 0);
    return buffer;
  }
}
