import { ButterflyError, ensure, toButterflyError } from '@butterfly/common';
import { CloningGraph, dtype, shapeOf, type Ggml, type Shape, type Tensor } from '@butterfly/ggml';
import type { LayerCache, LayerStates } from '@butterfly/model';
import type { FindWeight } from './leaves.js';
import type { GraphSurvey } from './survey.js';

/** A weight as a graph reads it. */
interface TrialWeight {
  readonly name: string;
  readonly type: number;
  readonly shape: Shape;
}

/** Slots of the arena, and of states, that there could be; any number shows what a graph is. */
const trialSlots = 8192;
const trialStateSlots = 64;

/** Tensors without memory where a stage has its own, to build graphs that are never computed. */
export class TrialMemory implements Disposable {
  readonly caches: readonly (LayerCache | null)[];
  readonly states: readonly LayerStates[];
  readonly #tensors: CloningGraph;
  readonly #weights = new Map<string, Tensor>();

  constructor(
    ggml: Ggml,
    { attention, states, shapes }: Pick<GraphSurvey, 'attention' | 'states' | 'shapes'>,
  ) {
    const perLayer = 2 + Math.max(0, ...states.map(({ length }) => length));
    this.#tensors = new CloningGraph(ggml, Object.keys(shapes).length + perLayer * attention.length + 16);
    const tensor = (type: number, width: number, count: number): Tensor =>
      this.#tensors.input(type, shapeOf(width, count));
    this.caches = attention.map((layer) => {
      if (!layer) return null;
      const { kvHeads, keySize, valueSize } = layer;
      return {
        keys: tensor(dtype.F16, kvHeads * keySize, trialSlots),
        values: valueSize === 0 ? null : tensor(dtype.F16, kvHeads * valueSize, trialSlots),
      };
    });
    this.states = states.map(
      (layer) => new Map(layer.map(({ name, width }) => [name, tensor(dtype.F32, width, trialStateSlots)])),
    );
  }

  /** Finds these weights. @throws ButterflyError MODEL_CORRUPT for one that nobody could have */
  weights(weights: readonly TrialWeight[]): FindWeight {
    for (const { name, type, shape } of weights)
      if (!this.#weights.has(name)) this.#weights.set(name, this.#weight({ name, type, shape }));
    return (name) => {
      const weight = this.#weights.get(name);
      ensure(weight !== undefined, () => `${name} is no weight of its layers`);
      return weight;
    };
  }

  /** The shape is what the metadata want, and the type that of the file: they may contradict each other. */
  #weight({ name, type, shape }: TrialWeight): Tensor {
    try {
      return this.#tensors.input(type, shape);
    } catch (cause) {
      throw new ButterflyError(
        'MODEL_CORRUPT',
        `The tensor ${name} cannot be [${shape.join(', ')}], as the metadata of the model want it: ${toButterflyError(cause).message} Download or convert the model again.`,
        { cause },
      );
    }
  }

  [Symbol.dispose](): void {
    this.#tensors[Symbol.dispose]();
  }
}
