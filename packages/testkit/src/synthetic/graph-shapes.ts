import { HeaderModel, dtype, type Ggml, type Shape } from '@butterfly/ggml';

/** Any number of rows shows which weights a graph reads. */
const rows = 4;

/**
 * The shapes of what the graph of a model reads, by name: without memory for weights, so for models of any size.
 * @param header a GGUF header that names all tensors, of whatever shapes.
 * @throws ButterflyError MODEL_UNSUPPORTED
 */
export function graphShapes(ggml: Ggml, header: Uint8Array): ReadonlyMap<string, Shape> {
  const options = { header, contextTokens: 256, rowsMax: rows, cacheType: dtype.F16 };
  using model = new HeaderModel(ggml, options);
  const graph = model.graph(rows, 1).snapshot();
  const shapes = new Map<string, Shape>();
  for (const { sources } of graph.nodes)
    for (const source of sources) {
      if (source === null) continue;
      const { op, name, shape } = graph.get(source);
      if (op === 'NONE') shapes.set(name, shape);
    }
  return shapes;
}
