import {
  ComputeAllocator,
  type CpuBackend,
  type RopeParams,
  type Tensor,
  TrainingGraph,
  dtype,
  shapeOf,
} from '@butterfly/ggml';
import type { Parameters } from './parameters.js';
import type { ModelShape } from './shape.js';

/** Windows of `context` tokens each, one after the other. */
export interface Batch {
  readonly tokens: Int32Array;
  /** The token that follows each token. */
  readonly targets: Int32Array;
  /** Index in its window of the first token of the document that each token is part of. */
  readonly documentStarts: Int32Array;
}

/** `loss` only computes the loss; `gradients` also gradients; `train` also changes the weights. */
export type Purpose = 'loss' | 'gradients' | 'train';

/** Forward and backward part make some 20 and 60 tensors per layer. */
const tensorsPerLayer = 128;

/**
 * The llama network over whole windows, operation by operation as libllama computes it without flash attention, with
 * ggml's backward operations and AdamW behind it. Tokens see only earlier tokens of their own document.
 */
export class Network implements Disposable {
  readonly #graph: TrainingGraph;
  readonly #allocator: ComputeAllocator;
  readonly #tokens: Tensor;
  readonly #targets: Tensor;
  readonly #positions: Tensor;
  readonly #mask: Tensor;
  readonly #loss: Tensor;
  readonly #gradients: ReadonlyMap<string, Tensor>;
  readonly #rope: RopeParams;

  constructor(
    private readonly backend: CpuBackend,
    private readonly shape: ModelShape,
    private readonly parameters: Parameters,
    readonly windows: number,
    purpose: Purpose,
  ) {
    const { context, hidden, heads, ropeBase } = shape;
    this.#rope = {
      dimensions: hidden / heads,
      mode: 0,
      originalContext: context,
      base: ropeBase,
      scale: 1,
      extrapolation: 0,
      attention: 1,
      betaFast: 32,
      betaSlow: 1,
    };
    const graph = new TrainingGraph(backend.ggml, tensorsPerLayer * (shape.layers + 2));
    this.#graph = graph;
    this.#allocator = new ComputeAllocator(backend);
    const rows = shapeOf(context * windows);
    this.#tokens = graph.input(dtype.I32, rows);
    this.#targets = graph.input(dtype.I32, rows);
    this.#positions = graph.input(dtype.I32, rows);
    this.#mask = graph.input(dtype.F32, shapeOf(context, context, 1, windows));
    if (purpose !== 'loss') for (const { tensor } of parameters.list) graph.parameter(tensor);
    const labels = graph.getRows(parameters.identity, this.#targets);
    this.#loss = graph.crossEntropy(this.#logits(), labels);
    graph.keep(this.#loss);
    graph.expand(this.#loss);
    this.#gradients = purpose === 'loss' ? new Map() : this.#backward(purpose);
    this.#allocator.allocate(graph);
  }

  /** Computes one batch. @returns the mean loss in nats per token, before the weights change */
  async run(batch: Batch): Promise<number> {
    const { context } = this.shape;
    new Int32Array(this.#graph.data(this.#tokens)).set(batch.tokens);
    new Int32Array(this.#graph.data(this.#targets)).set(batch.targets);
    new Int32Array(this.#graph.data(this.#positions)).set(batch.tokens.map((_, index) => index % context));
    fillMask(new Float32Array(this.#graph.data(this.#mask)), batch.documentStarts, context);
    await this.backend.compute(this.#graph);
    return new Float32Array(this.#graph.data(this.#loss))[0] ?? NaN;
  }

  /** The gradient of a weight after `run`, in a network made for `gradients`. */
  gradient(name: string): Float32Array {
    const tensor = this.#gradients.get(name);
    if (!tensor) throw new RangeError(`there is no gradient of ${name}`);
    return new Float32Array(this.#graph.data(tensor));
  }

  [Symbol.dispose](): void {
    this.#allocator[Symbol.dispose]();
    this.#graph[Symbol.dispose]();
  }

  #backward(purpose: 'gradients' | 'train'): Map<string, Tensor> {
    const graph = this.#graph;
    graph.backward(this.#loss, this.parameters.one);
    const gradients = new Map<string, Tensor>();
    for (const parameter of this.parameters.list) {
      const gradient = graph.gradient(parameter.tensor);
      if (purpose === 'train') {
        graph.adamw(parameter.tensor, parameter);
        continue;
      }
      graph.keep(gradient);
      graph.expand(gradient);
      gradients.set(parameter.plan.name, gradient);
    }
    return gradients;
  }

  #logits(): Tensor {
    const { parameters, shape } = this;
    const graph = this.#graph;
    const embedding = parameters.get('token_embd.weight');
    let x = graph.getRows(embedding, this.#tokens);
    for (let layer = 0; layer < shape.layers; layer++) {
      const weight = (name: string): Tensor => parameters.get(`blk.${layer}.${name}.weight`);
      x = graph.add(x, this.#attention(this.#norm(x, weight('attn_norm')), weight));
      const normed = this.#norm(x, weight('ffn_norm'));
      const gate = graph.matmul(weight('ffn_gate'), normed);
      const up = graph.matmul(weight('ffn_up'), normed);
      x = graph.add(x, graph.matmul(weight('ffn_down'), graph.swiglu(gate, up)));
    }
    return graph.matmul(embedding, this.#norm(x, parameters.get('output_norm.weight')));
  }

  #norm(x: Tensor, weight: Tensor): Tensor {
    return this.#graph.multiply(this.#graph.rmsNorm(x, this.shape.normEpsilon), weight);
  }

  #attention(x: Tensor, weight: (name: string) => Tensor): Tensor {
    const { hidden, heads, context } = this.shape;
    const graph = this.#graph;
    const headSize = hidden / heads;
    const rows = context * this.windows;
    const turned = (name: string): Tensor => {
      const split = graph.reshape(graph.matmul(weight(name), x), shapeOf(headSize, heads, rows));
      const rotated = graph.rope(split, this.#positions, null, this.#rope);
      return graph.transposed(
        graph.reshape(rotated, shapeOf(headSize, heads, context, this.windows)),
        [0, 2, 1, 3],
      );
    };
    const values = graph.reshape(
      graph.matmul(weight('attn_v'), x),
      shapeOf(headSize, heads, context, this.windows),
    );
    const scores = graph.matmul(turned('attn_k'), turned('attn_q'));
    const shares = graph.softmax(scores, this.#mask, 1 / Math.sqrt(headSize));
    const mixed = graph.matmul(graph.transposed(values, [1, 2, 0, 3]), shares);
    const joined = graph.reshape(graph.transposed(mixed, [0, 2, 1, 3]), shapeOf(hidden, rows));
    return graph.matmul(weight('attn_output'), joined);
  }
}

/** Zero where a token may look, minus infinity elsewhere. */
function fillMask(mask: Float32Array, documentStarts: Int32Array, context: number): void {
  mask.fill(-Infinity);
  for (const [row, start] of documentStarts.entries()) {
    const at = row * context;
    mask.fill(0, at + start, at + (row % context) + 1);
  }
}
