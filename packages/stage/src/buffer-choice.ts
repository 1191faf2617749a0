import { type BufferType, type CpuBackend, Graph, type Shape, dtype, shapeOf } from '@butterfly/ggml';
import type { WeightUse } from '@butterfly/model';

/** llama.cpp's rule (src/llama-model-loader.cpp, select_weight_buft): the first layout whose kernel takes the operation. */
export function chooseBufferType(
  backend: CpuBackend,
  type: number,
  shape: Shape,
  use: WeightUse,
): BufferType {
  if (use !== 'matmul') return backend.plain;
  for (const candidate of backend.preferred) {
    using graph = new Graph(backend.ggml, 4);
    const weight = graph.tensor(type, shape);
    using memory = backend.allocate(graph.bytesIn(candidate, weight), candidate);
    graph.place(weight, memory, 0);
    if (graph.supported(graph.matmul(weight, graph.tensor(dtype.F32, shapeOf(shape[0], 512)))))
      return candidate;
  }
  return backend.plain;
}
