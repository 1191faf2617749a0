import { dtype, shapeOf, type Graph, type Tensor } from '@butterfly/ggml';
import type { PooledRows } from './batch-shape.js';

/** Tensors that the embedding of one text takes at most, without the model's own head. */
export const tensorsOfPooling = 8;

/**
 * Makes embeddings of texts of the rows of their tokens, each text by itself and by the operations with which llama.cpp does
 * it where a batch has one text (`build_pooling` of llama-graph.cpp): what is beside a text does not change a bit of it.
 */
export class TextPooling {
  /** F32 [rows] for each mean, to be filled with 1 / rows. */
  readonly means: Tensor[] = [];

  /** @param rows F32 [width, rows] of all texts. */
  constructor(
    private readonly graph: Graph,
    private readonly rows: Tensor,
  ) {}

  /** F32 [width]. */
  take({ takes, rowStart, rows }: PooledRows): Tensor {
    const { graph } = this;
    const [width] = this.rows.shape;
    const [, row, all] = this.rows.strides;
    const window = (start: number, count: number): Tensor =>
      graph.view(this.rows, shapeOf(width, count), [row, all, all], start * row);
    switch (takes) {
      case 'mean': {
        const weights = graph.input(dtype.F32, shapeOf(rows));
        this.means.push(weights);
        return graph.matmul(graph.packed(graph.transpose(window(rowStart, rows)), rows, width), weights);
      }
      case 'first':
        return graph.packed(window(rowStart, 1), width, 1);
      case 'last':
        return graph.packed(window(rowStart + rows - 1, 1), width, 1);
      default:
        return takes satisfies never;
    }
  }
}

/** The embeddings of all texts of a batch, kept to be read. */
export function poolTexts(
  graph: Graph,
  rows: Tensor,
  pooled: readonly PooledRows[],
  behind: (taken: Tensor, pooled: PooledRows) => Tensor = (taken) => taken,
): { readonly vectors: readonly Tensor[]; readonly means: readonly Tensor[] } {
  const pooling = new TextPooling(graph, rows);
  const vectors = pooled.map((each) => {
    const vector = behind(pooling.take(each), each);
    graph.keep(vector);
    graph.expand(vector);
    return vector;
  });
  return { vectors, means: pooling.means };
}
