import { ensure } from '@butterfly/common';
import { dtype } from './dtype.js';
import { Graph } from './graph.js';
import type { Ggml } from './library.js';
import { describe, elements, sameShape, shapeOf, type Shape, type Tensor } from './tensor.js';

/** Number of values that `ggml_opt_step_adamw` reads: alpha, beta1, beta2, epsilon, decay, and the two warm-ups. */
const adamwParameters = 7;

/** State of the AdamW optimizer for one parameter, all F32 (https://arxiv.org/abs/1711.05101). */
export interface AdamwState {
  /** First and second moment, each as large as the parameter and zero at first. */
  readonly momentum: Tensor;
  readonly variance: Tensor;
  /** As `adamwValues` gives them; parameters may share it. */
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

/** The values of one step, with the bias of the moments corrected. */
export function adamwValues(options: AdamwOptions): Float32Array {
  const { learningRate, beta1, beta2, epsilon, weightDecay, step } = options;
  ensure(Number.isInteger(step) && step >= 1, () => `Steps count from 1, not ${step}.`);
  const unbiased = (beta: number): number => 1 / (1 - beta ** step);
  return Float32Array.of(learningRate, beta1, beta2, epsilon, weightDecay, unbiased(beta1), unbiased(beta2));
}

/**
 * A computation with gradients, by ggml's own backward operations. First the forward part, ended by `loss`; then
 * `backward`; then `gradient` and `adamw` for the parameters. What `parameter` marks must be marked before it is used.
 */
export class TrainingGraph extends Graph {
  #hasLoss = false;
  #hasGradients = false;

  /** @param tensorsMax what forward and backward part hold together; some five times the forward part. */
  constructor(ggml: Ggml, tensorsMax: number) {
    super(ggml, tensorsMax, true);
  }

  /** Marks an F32 tensor as one to find a gradient for. */
  parameter(tensor: Tensor): void {
    ensure(tensor.type === dtype.F32 && this.isContiguous(tensor), () => `parameter: ${describe(tensor)}`);
    this.ggml.base.ggml_set_param(tensor.pointer);
  }

  /** Softmax over the columns of `scale * a + mask`, for `a` F32 [n, rows, heads, batch] and `mask` F32 [n, rows, 1, batch or 1]. */
  softmax(a: Tensor, mask: Tensor, scale: number): Tensor {
    ensure(
      a.type === dtype.F32 &&
        mask.type === dtype.F32 &&
        this.isContiguous(a) &&
        this.isContiguous(mask) &&
        mask.shape[0] === a.shape[0] &&
        mask.shape[1] === a.shape[1] &&
        mask.shape[2] === 1 &&
        a.shape[3] % mask.shape[3] === 0,
      () => `softmax: ${describe(a)} with mask ${describe(mask)}`,
    );
    const pointer = this.ggml.base.ggml_soft_max_ext(this.take(), a.pointer, mask.pointer, scale, 0);
    return this.result(pointer, a.type, a.shape);
  }

  /** Dimension i of `a` becomes dimension `order[i]`, moved into a contiguous tensor. */
  transposed(a: Tensor, order: Shape): Tensor {
    ensure(
      [0, 1, 2, 3].every((axis) => order.includes(axis)),
      () => `transposed: [${order.join(', ')}] is no order of four dimensions`,
    );
    const shape: [number, number, number, number] = [1, 1, 1, 1];
    for (const [from, to] of order.entries()) shape[to] = a.shape[from] ?? 1;
    const permuted = this.ggml.base.ggml_permute(this.take(), a.pointer, ...order);
    return this.result(this.ggml.base.ggml_cont(this.take(), permuted), a.type, shape);
  }

  /** Mean cross entropy (in nats) of logits F32 [classes, rows] against probabilities of the same shape: the loss. */
  crossEntropy(logits: Tensor, labels: Tensor): Tensor {
    ensure(
      logits.type === dtype.F32 &&
        labels.type === dtype.F32 &&
        sameShape(logits.shape, labels.shape) &&
        this.isContiguous(logits) &&
        this.isContiguous(labels),
      () => `crossEntropy: ${describe(logits)} against ${describe(labels)}`,
    );
    const pointer = this.ggml.base.ggml_cross_entropy_loss(this.take(), logits.pointer, labels.pointer);
    const loss = this.result(pointer, dtype.F32, shapeOf(1));
    this.ggml.base.ggml_set_loss(pointer);
    this.keep(loss);
    this.expand(loss);
    this.#hasLoss = true;
    return loss;
  }

  /** Adds the gradients of all parameters; gives the gradient of the loss, to be set to 1 once allocated. */
  backward(loss: Tensor): Tensor {
    ensure(this.#hasLoss && !this.#hasGradients, () => 'backward: needs a loss, and runs once.');
    const { base } = this.ggml;
    base.ggml_build_backward_expand(this.take(), this.pointer, null);
    this.#hasGradients = true;
    const seed = base.ggml_graph_get_grad_acc(this.pointer, loss.pointer);
    ensure(seed !== null, () => 'backward: the loss has no gradient.');
    base.ggml_set_input(seed);
    base.ggml_set_output(seed);
    return this.result(seed, dtype.F32, loss.shape);
  }

  /** The gradient of a parameter. */
  gradient(parameter: Tensor): Tensor {
    ensure(this.#hasGradients, () => 'gradient: call backward first.');
    const pointer = this.ggml.base.ggml_graph_get_grad(this.pointer, parameter.pointer);
    ensure(pointer !== null, () => `gradient: the loss does not depend on ${describe(parameter)}.`);
    return this.result(pointer, dtype.F32, parameter.shape);
  }

  /** Changes a parameter in place by its gradient, at the end of the computation. */
  adamw(parameter: Tensor, { momentum, variance, values }: AdamwState): void {
    const gradient = this.gradient(parameter);
    ensure(
      [momentum, variance].every((t) => t.type === dtype.F32 && sameShape(t.shape, parameter.shape)) &&
        values.type === dtype.F32 &&
        elements(values.shape) === adamwParameters,
      () => `adamw: ${describe(parameter)}, ${describe(momentum)}, ${describe(variance)}, ${describe(values)}`,
    );
    const pointer = this.ggml.base.ggml_opt_step_adamw(
      this.take(),
      parameter.pointer,
      gradient.pointer,
      momentum.pointer,
      variance.pointer,
      values.pointer,
    );
    this.expand({ pointer, type: parameter.type, shape: parameter.shape, strides: parameter.strides });
  }
}
