import {
  type Backend,
  type BufferType,
  Graph,
  type Shape,
  type Tensor,
  dtype,
  shapeOf,
} from '@butterfly/ggml';
import type { WeightUse } from '@butterfly/model';

/** llama.cpp's rule (src/llama-model-loader.cpp, select_weight_buft): the first layout whose kernel takes the operation. */
export function chooseBufferType(backend: Backend, type: number, shape: Shape, use: WeightUse): BufferType {
  if (use !== 'matmul' && use !== 'experts') return backend.plain;
  for (const candidate of backend.preferred) {
    using graph = new Graph(backend.ggml, 4);
    const weight = graph.tensor(type, shape);
    using memory = backend.allocate(graph.bytesIn(candidate, weight), candidate);
    graph.place(weight, memory, 0);
    if (backend.supports(product(graph, weight, use))) return candidate;
  }
  return backend.plain;
}

/** The operation that the weight is for, with as many rows as llama.cpp asks about. */
function product(graph: Graph, weight: Tensor, use: 'matmul' | 'experts'): Tensor {
  const rows = 512;
  const { shape } = weight;
  if (use === 'matmul')
    return graph.matmul(weight, graph.tensor(dtype.F32, shapeOf(shape[0], rows, shape[2], shape[3])));
  const used = 1;
  return graph.matmulExperts(
    weight,
    graph.tensor(dtype.F32, shapeOf(shape[0], used, rows)),
    graph.tensor(dtype.I32, shapeOf(used, rows)),
  );
}
