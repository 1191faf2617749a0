/** What a llama model looks like. */
export interface ModelShape {
  readonly layers: number;
  readonly hidden: number;
  /** Query, key and value heads alike. */
  readonly heads: number;
  readonly feedForward: number;
  readonly vocabulary: number;
  /** Tokens that one window holds. */
  readonly context: number;
  readonly normEpsilon: number;
  readonly ropeBase: number;
}

/** A weight: its name in GGUF, its size (the row first) and how it starts. */
export interface ParameterPlan {
  readonly name: string;
  readonly columns: number;
  /** Null for a vector, which starts as ones and takes no weight decay. */
  readonly rows: number | null;
  /** Standard deviation of the first values. */
  readonly deviation: number;
}

/** All weights in file order. The embedding also projects to the logits (https://arxiv.org/abs/1608.05859). */
export function planParameters(shape: ModelShape): ParameterPlan[] {
  const { layers, hidden, feedForward, vocabulary } = shape;
  const deviation = 0.02;
  // What adds to the residual stream starts smaller, so that the stream does not grow with depth (GPT-2).
  const residualDeviation = deviation / Math.sqrt(2 * layers);
  const layer = (index: number): ParameterPlan[] => {
    const matrix = (name: string, columns: number, rows: number, scale = deviation): ParameterPlan => ({
      name: `blk.${index}.${name}.weight`,
      columns,
      rows,
      deviation: scale,
    });
    return [
      vector(`blk.${index}.attn_norm.weight`, hidden),
      matrix('attn_q', hidden, hidden),
      matrix('attn_k', hidden, hidden),
      matrix('attn_v', hidden, hidden),
      matrix('attn_output', hidden, hidden, residualDeviation),
      vector(`blk.${index}.ffn_norm.weight`, hidden),
      matrix('ffn_gate', hidden, feedForward),
      matrix('ffn_up', hidden, feedForward),
      matrix('ffn_down', feedForward, hidden, residualDeviation),
    ];
  };
  return [
    { name: 'token_embd.weight', columns: hidden, rows: vocabulary, deviation },
    ...Array.from({ length: layers }, (_, index) => layer(index)).flat(),
    vector('output_norm.weight', hidden),
  ];
}

function vector(name: string, columns: number): ParameterPlan {
  return { name, columns, rows: null, deviation: 0 };
}
