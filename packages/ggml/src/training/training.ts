import { ensure } from '@butterfly/common';
import { dtype } from '../graph/dtype.js';
import { Graph, type RopeParams } from '../graph/graph.js';
import type { Pointer } from '../library/symbols.js';
import { describe, elements, sameShape, shapeOf, type Shape, type Tensor } from '../graph/tensor.js';

/** Number of values that `ggml_opt_step_adamw` reads: alpha, beta1, beta2, epsilon, decay, and two corrections. */
const adamwParameters = 7;

/** State of the AdamW optimizer for one parameter, all F32 (https://arxiv.org/abs/1711.05101). */
export interface AdamwState {
  /** First and second moment, each as large as the parameter and zero at first. */
  readonly momentum: Tensor;
  readonly variance: Tensor;
  /** What `adamwValues` gives; parameters may share it. */
  readonly values: Tensor;
}

/** What one AdamW step takes. */
export interface AdamwOptions {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  readonly weightDecay: number;
  /** Counts from 1. */
  readonly step: number;
}

/** The shape of `AdamwState.values`. */
export const adamwValuesShape: Shape = shapeOf(adamwParameters);

/** The values of one step, with the corrections for the bias of the moments. */
export function adamwValues(options: AdamwOptions): Float32Array {
  const { learningRate, beta1, beta2, epsilon, weightDecay, step } = options;
  ensure(Number.isInteger(step) && step >= 1, () => `Steps count from 1, not ${step}.`);
  const correction = (beta: number): number => 1 / (1 - beta ** step);
  return Float32Array.of(
    learningRate,
    beta1,
    beta2,
    epsilon,
    weightDecay,
    correction(beta1),
    correction(beta2),
  );
}

/** How the gradient of a result becomes the gradient of one of its sources. */
type Pullback = (gradient: Tensor) => Tensor;

interface Step {
  readonly result: Tensor;
  readonly sources: readonly (readonly [Tensor, Pullback])[];
}

/** Columns from which `ggml_out_prod` is fast: it adds up whole rows of its first source. */
const outProductColumns = 64;

/**
 * A computation with gradients: operations record how to differentiate them, and `backward` builds the gradients of all
 * parameters from ggml's backward operations. ggml's own `ggml_build_backward_expand` gives the same, but takes the
 * gradients of matrix products only from outer products, which are slow (docs/decisions/0008-own-model.md).
 */
export class TrainingGraph extends Graph {
  readonly #records: Step[] = [];
  /** Parameters and all that depends on them. */
  readonly #active = new Set<Pointer>();
  readonly #gradients = new Map<Pointer, Tensor>();

  /** Marks an F32 tensor as one to find a gradient for; before its first use. */
  parameter(tensor: Tensor): void {
    ensure(tensor.type === dtype.F32 && this.isContiguous(tensor), () => `parameter: ${describe(tensor)}`);
    this.ggml.base.ggml_set_param(tensor.pointer);
    this.#active.add(tensor.pointer);
  }

  override getRows(table: Tensor, ids: Tensor): Tensor {
    const { base } = this.ggml;
    return this.#record(super.getRows(table, ids), [
      table,
      (gradient) =>
        this.#like(table, base.ggml_get_rows_back(this.take(), gradient.pointer, ids.pointer, table.pointer)),
    ]);
  }

  override rmsNorm(a: Tensor, epsilon: number): Tensor {
    return this.#record(super.rmsNorm(a, epsilon), [
      a,
      (gradient) =>
        this.#like(a, this.ggml.base.ggml_rms_norm_back(this.take(), gradient.pointer, a.pointer, epsilon)),
    ]);
  }

  override add(a: Tensor, b: Tensor): Tensor {
    ensure(
      sameShape(a.shape, b.shape),
      () => `add: ${describe(a)} and ${describe(b)} (no broadcast in training)`,
    );
    return this.#record(super.add(a, b), [a, (gradient) => gradient], [b, (gradient) => gradient]);
  }

  override multiply(a: Tensor, b: Tensor): Tensor {
    return this.#record(
      super.multiply(a, b),
      [a, (gradient) => super.multiply(gradient, b)],
      [b, (gradient) => this.#summed(super.multiply(gradient, a), b)],
    );
  }

  override matmul(weights: Tensor, a: Tensor): Tensor {
    ensure(
      weights.shape[2] === a.shape[2] && weights.shape[3] === a.shape[3],
      () => `matmul: ${describe(weights)} by ${describe(a)} (no broadcast in training)`,
    );
    return this.#record(
      super.matmul(weights, a),
      [
        weights,
        (gradient) =>
          a.shape[0] >= outProductColumns
            ? this.#outerProduct(a, gradient)
            : this.#permuted(this.#outerProduct(gradient, a), [1, 0, 2, 3]),
      ],
      [a, (gradient) => super.matmul(this.#permuted(weights, [1, 0, 2, 3]), gradient)],
    );
  }

  override swiglu(gate: Tensor, up: Tensor): Tensor {
    const { base } = this.ggml;
    return this.#record(
      super.swiglu(gate, up),
      [
        gate,
        (gradient) => {
          const scaled = super.multiply(gradient, up);
          return this.#like(gate, base.ggml_silu_back(this.take(), scaled.pointer, gate.pointer));
        },
      ],
      [
        up,
        (gradient) => super.multiply(this.#like(gate, base.ggml_silu(this.take(), gate.pointer)), gradient),
      ],
    );
  }

  override rope(a: Tensor, positions: Tensor, factors: Tensor | null, params: RopeParams): Tensor {
    return this.#record(super.rope(a, positions, factors, params), [
      a,
      (gradient) =>
        this.#like(
          a,
          this.ggml.base.ggml_rope_ext_back(
            this.take(),
            gradient.pointer,
            positions.pointer,
            factors?.pointer ?? null,
            params.dimensions,
            params.mode,
            params.originalContext,
            params.base,
            params.scale,
            params.extrapolation,
            params.attention,
            params.betaFast,
            params.betaSlow,
          ),
        ),
    ]);
  }

  override reshape(a: Tensor, shape: Shape): Tensor {
    return this.#record(super.reshape(a, shape), [a, (gradient) => super.reshape(gradient, a.shape)]);
  }

  /** Softmax over the columns of `scale * a + mask`: `a` F32 [n, rows, heads, batch], `mask` F32 [n, rows, 1, batch]. */
  softmax(a: Tensor, mask: Tensor, scale: number): Tensor {
    ensure(
      [a, mask].every((tensor) => tensor.type === dtype.F32 && this.isContiguous(tensor)) &&
        sameShape(mask.shape, [a.shape[0], a.shape[1], 1, a.shape[3]]),
      () => `softmax: ${describe(a)} with mask ${describe(mask)}`,
    );
    const { base } = this.ggml;
    const shares = this.#like(a, base.ggml_soft_max_ext(this.take(), a.pointer, mask.pointer, scale, 0));
    return this.#record(shares, [
      a,
      (gradient) =>
        this.#like(a, base.ggml_soft_max_ext_back(this.take(), gradient.pointer, shares.pointer, scale, 0)),
    ]);
  }

  /** Makes dimension i of `a` dimension `order[i]` of the result, moving the data. */
  transposed(a: Tensor, order: Shape): Tensor {
    const inverse = [0, 1, 2, 3].map((axis) => order.indexOf(axis)) as [number, number, number, number];
    return this.#record(this.#permuted(a, order), [a, (gradient) => this.#permuted(gradient, inverse)]);
  }

  /** Mean cross entropy in nats of logits F32 [classes, rows] against probabilities of the same shape: F32 [1]. */
  crossEntropy(logits: Tensor, labels: Tensor): Tensor {
    ensure(
      [logits, labels].every((tensor) => tensor.type === dtype.F32 && this.isContiguous(tensor)) &&
        sameShape(logits.shape, labels.shape),
      () => `crossEntropy: ${describe(logits)} against ${describe(labels)}`,
    );
    const { base } = this.ggml;
    const pointer = base.ggml_cross_entropy_loss(this.take(), logits.pointer, labels.pointer);
    return this.#record(this.result(pointer, dtype.F32, shapeOf(1)), [
      logits,
      (gradient) =>
        this.#like(
          logits,
          base.ggml_cross_entropy_loss_back(this.take(), gradient.pointer, logits.pointer, labels.pointer),
        ),
    ]);
  }

  /**
   * Builds the gradients of all parameters; no operation may be recorded afterwards.
   * @param loss the result to differentiate
   * @param seed the gradient of the loss, an input that holds 1
   */
  backward(loss: Tensor, seed: Tensor): void {
    ensure(
      sameShape(loss.shape, seed.shape),
      () => `backward: ${describe(loss)} with seed ${describe(seed)}`,
    );
    this.#gradients.set(loss.pointer, seed);
    for (const { result, sources } of this.#records.splice(0).reverse()) {
      const gradient = this.#gradients.get(result.pointer);
      if (!gradient) continue;
      for (const [source, pullback] of sources) {
        if (!this.#active.has(source.pointer)) continue;
        const share = pullback(gradient);
        const others = this.#gradients.get(source.pointer);
        this.#gradients.set(source.pointer, others ? super.add(others, share) : share);
      }
    }
  }

  /** The gradient of a parameter, after `backward`. */
  gradient(parameter: Tensor): Tensor {
    const gradient = this.#gradients.get(parameter.pointer);
    ensure(gradient !== undefined, () => `gradient: the loss does not depend on ${describe(parameter)}.`);
    return gradient;
  }

  /** Changes a parameter in place by its gradient, at the end of the computation. */
  adamw(parameter: Tensor, { momentum, variance, values }: AdamwState): void {
    const gradient = this.gradient(parameter);
    ensure(
      [momentum, variance].every(
        (tensor) => tensor.type === dtype.F32 && sameShape(tensor.shape, parameter.shape),
      ) &&
        values.type === dtype.F32 &&
        elements(values.shape) === adamwParameters,
      () =>
        `adamw: ${describe(parameter)}, ${describe(momentum)}, ${describe(variance)}, ${describe(values)}`,
    );
    const pointer = this.ggml.base.ggml_opt_step_adamw(
      this.take(),
      parameter.pointer,
      gradient.pointer,
      momentum.pointer,
      variance.pointer,
      values.pointer,
    );
    this.expand(this.#like(parameter, pointer));
  }

  #record(result: Tensor, ...sources: Step['sources'][number][]): Tensor {
    if (!sources.some(([source]) => this.#active.has(source.pointer))) return result;
    this.#active.add(result.pointer);
    this.#records.push({ result, sources });
    return result;
  }

  /** Sum over the rows of a x b of F32 [n, rows] and [m, rows]: F32 [n, m]. */
  #outerProduct(a: Tensor, b: Tensor): Tensor {
    const pointer = this.ggml.base.ggml_out_prod(this.take(), a.pointer, b.pointer);
    return this.result(pointer, dtype.F32, [a.shape[0], b.shape[0], a.shape[2], a.shape[3]]);
  }

  /** Adds up what broadcasting repeated. */
  #summed(a: Tensor, target: Tensor): Tensor {
    if (sameShape(a.shape, target.shape)) return a;
    return this.#like(target, this.ggml.base.ggml_repeat_back(this.take(), a.pointer, target.pointer));
  }

  #permuted(a: Tensor, order: Shape): Tensor {
    ensure(
      [0, 1, 2, 3].every((axis) => order.includes(axis)),
      () => `transposed: [${order.join(', ')}] is no order of four dimensions`,
    );
    const shape: [number, number, number, number] = [1, 1, 1, 1];
    for (const [from, to] of order.entries()) shape[to] = a.shape[from] ?? 1;
    const permuted = this.ggml.base.ggml_permute(this.take(), a.pointer, ...order);
    return this.result(this.ggml.base.ggml_cont(this.take(), permuted), a.type, shape);
  }

  #like(tensor: Tensor, pointer: Pointer): Tensor {
    return this.result(pointer, dtype.F32, tensor.shape);
  }
}
