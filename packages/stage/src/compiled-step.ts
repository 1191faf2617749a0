import type { Graph, Tensor } from '@butterfly/ggml';
import {
  type BatchShape,
  type ImportedGraphSpec,
  type LayerAttention,
  type ModelSpec,
  type StepGraph,
  fillMasks,
  typicalAttention,
  windowsOf,
} from '@butterfly/model';
import { emptyState, type StepSequence, wasteState } from '@butterfly/wire';

/** The graph of one batch shape with its inputs and outputs as native memory; serves every step of that shape. */
export class CompiledStep implements Disposable {
  readonly graph: Graph;
  #views: Views | undefined;
  /** Heads that share a key. */
  readonly #groupHeads: number;
  /** What stands on the host for memory that is not there: inputs to be written, outputs to be read. */
  readonly #copies: Record<'inputs' | 'outputs', { readonly tensor: Tensor; readonly bytes: Uint8Array }[]> =
    {
      inputs: [],
      outputs: [],
    };
  readonly #temperature: ImportedGraphSpec['temperature'];
  /** Slots of a room for a window. */
  readonly #roomSlots: number;
  readonly #isEncoder: boolean;

  /** Takes the graph over, to dispose it. */
  constructor(
    private readonly step: StepGraph,
    { attention, graph, isEncoder }: Pick<ModelSpec, 'attention' | 'graph' | 'isEncoder'>,
    readonly batch: BatchShape,
  ) {
    this.graph = step.graph;
    this.#isEncoder = isEncoder;
    const typical = typicalAttention(attention);
    this.#groupHeads = typical ? typical.heads / typical.kvHeads : 1;
    this.#roomSlots = windowsOf({ graph })?.roomSlots ?? 0;
    this.#temperature = graph.kind === 'imported' ? graph.temperature : null;
  }

  /**
   * Looks up the memory of inputs and outputs, once the allocator has given it.
   * @param isHost whether it has addresses of this process.
   */
  bind(isHost: boolean): void {
    const { inputs, outputs } = this.step;
    const { activations, logits, vectors = [], hidden = null, rowSums, logitRowSums } = outputs;
    const { rows, paddedRows, logitRows, paddedLogitRows } = this.batch;
    const access =
      (copies: 'inputs' | 'outputs') =>
      (tensor: Tensor): ArrayBuffer => {
        if (isHost) return this.graph.data(tensor);
        const bytes = new Uint8Array(tensor.strides[3] * tensor.shape[3]);
        this.#copies[copies].push({ tensor, bytes });
        return bytes.buffer;
      };
    const data = access('inputs');
    const result = access('outputs');
    this.#views = {
      source: new Uint8Array(data(inputs.source)),
      tokens: inputs.tokens && new Uint8Array(data(inputs.tokens)),
      positions: inputs.positions && new Int32Array(data(inputs.positions.tensor)),
      slots: inputs.slots && new BigInt64Array(data(inputs.slots)),
      roomSlots: inputs.roomSlots && new BigInt64Array(data(inputs.roomSlots)),
      masks: inputs.masks.map(({ tensor, window, isBiased }) => ({
        values: new Uint16Array(data(tensor)),
        window,
        isBiased,
      })),
      attendedPadding: inputs.attended.map((tensor) =>
        new Uint8Array(data(tensor)).subarray(rows * tensor.strides[1]),
      ),
      logitRowIds: inputs.logitRowIds && new Int32Array(data(inputs.logitRowIds)),
      temperature: inputs.temperature && new Float32Array(data(inputs.temperature)),
      states: inputs.states.map(({ from, to }) => ({
        from: new Int32Array(data(from)),
        to: new BigInt64Array(data(to)),
      })),
      rotations: inputs.rotations.map((tensor) => new Float32Array(data(tensor))),
      ones: inputs.ones.map((tensor) => new Float32Array(data(tensor))),
      means: (inputs.means ?? []).map((tensor) => new Float32Array(data(tensor))),
      entered: inputs.hidden ? new Float32Array(data(inputs.hidden)) : null,
      hidden: hidden && firstRows(new Float32Array(result(hidden)), rows, paddedRows),
      vectors: vectors.map((tensor) => new Float32Array(result(tensor))),
      rowSums: firstRows(new Float32Array(result(rowSums)), rows, paddedRows),
      logitRowSums:
        logitRowSums && firstRows(new Float32Array(result(logitRowSums)), logitRows, paddedLogitRows),
      activations: activations && firstRows(new Uint8Array(result(activations)), rows, paddedRows),
      logits: logits && firstRows(new Float32Array(result(logits)), logitRows, paddedLogitRows),
    };
  }

  /** What the latest computation gave, without the rows that pad. */
  outputs(): Pick<Views, 'activations' | 'logits' | 'vectors' | 'hidden' | 'rowSums' | 'logitRowSums'> {
    const { activations, logits, vectors, hidden, rowSums, logitRowSums } = this.#bound();
    return { activations, logits, vectors, hidden, rowSums, logitRowSums };
  }

  /** Takes what was filled to the device, to be called last before each computation. */
  push(): void {
    for (const { tensor, bytes } of this.#copies.inputs) this.graph.write(tensor, bytes);
  }

  /** Takes outputs from the device, to be called after each computation. */
  pull(): void {
    for (const { tensor, bytes } of this.#copies.outputs) this.graph.read(tensor, bytes);
  }

  /** Writes token ids or activations, and token ids beside those where the stage reads them. */
  fillSource(payload: Uint8Array, ids: Uint8Array | undefined): void {
    const { source, tokens } = this.#bound();
    source.set(payload);
    source.fill(0, payload.length);
    if (!tokens) return;
    tokens.set(ids ?? []);
    tokens.fill(0, ids?.length ?? 0);
  }

  /** Writes the hidden states that a head takes, F32 [hidden] of each row. */
  fillHidden(rows: readonly Float32Array[]): void {
    const { entered } = this.#bound();
    for (const [row, state] of rows.entries()) entered?.set(state, row * state.length);
  }

  /** Writes all other inputs. `sequences` must have the shape that this was compiled for. */
  fill(sequences: readonly StepSequence[]): void {
    const views = this.#bound();
    const { slots, roomSlots, logitRowIds } = views;
    const positions = new Int32Array(this.batch.paddedRows);
    let row = 0;
    let logitRow = 0;
    for (const { positionStart, rows, regionStart, logitRows, window } of sequences) {
      const roomStart = window ? window.to * this.#roomSlots - window.toFirst : 0;
      for (let r = 0; r < rows; r++) {
        positions[row + r] = positionStart + r;
        if (slots) slots[row + r] = BigInt(regionStart + positionStart + r);
        if (roomSlots) roomSlots[row + r] = BigInt(roomStart + positionStart + r);
      }
      for (let r = rows - logitRows; logitRowIds && r < rows; r++) logitRowIds[logitRow++] = row + r;
      row += rows;
    }
    logitRowIds?.fill(0, logitRow);
    this.#fillPositions(positions, views);
    fillStates(sequences, views.states);
    for (const padding of views.attendedPadding) padding.fill(0);
    for (const ones of views.ones) ones.fill(1);
    // As llama.cpp has it: in F32.
    for (const mean of views.means) mean.fill(1 / mean.length);
    for (const rotation of views.rotations) fillHadamard(rotation);
    const [groupHeads, isEncoder] = [this.#groupHeads, this.#isEncoder];
    for (const { values, window, isBiased } of views.masks)
      fillMasks(values, this.batch, { groupHeads, positions, window, isBiased, isEncoder });
  }

  [Symbol.dispose](): void {
    this.#views = undefined;
    this.graph[Symbol.dispose]();
  }

  #fillPositions(positions: Int32Array, { positions: written, temperature }: Views): void {
    const each = this.step.inputs.positions?.each ?? 0;
    // Text has the same position in time, height and width, and none beyond (llm_graph_input_pos of llama-graph.cpp).
    for (let part = 0; written && part < each; part++)
      if (part < 3) written.set(positions, part * positions.length);
      else written.fill(0, part * positions.length, (part + 1) * positions.length);
    if (!temperature) return;
    const { floorScale, scale, offset } = this.#temperature ?? { floorScale: 1, scale: 0, offset: 0 };
    for (const [row, position] of positions.entries())
      temperature[row] = Math.log(Math.floor((position + offset) / floorScale) + 1) * scale + 1;
  }

  #bound(): Views {
    if (!this.#views) throw new RangeError('the step has no memory yet');
    return this.#views;
  }
}

interface Views {
  readonly source: Uint8Array;
  readonly tokens: Uint8Array | null;
  readonly positions: Int32Array | null;
  readonly slots: BigInt64Array | null;
  readonly roomSlots: BigInt64Array | null;
  readonly masks: readonly {
    readonly values: Uint16Array;
    readonly window: LayerAttention['window'];
    readonly isBiased: boolean;
  }[];
  readonly attendedPadding: readonly Uint8Array[];
  readonly logitRowIds: Int32Array | null;
  readonly temperature: Float32Array | null;
  readonly states: readonly { readonly from: Int32Array; readonly to: BigInt64Array }[];
  readonly rotations: readonly Float32Array[];
  readonly ones: readonly Float32Array[];
  readonly means: readonly Float32Array[];
  readonly vectors: readonly Float32Array[];
  /** Of a head, what it takes. */
  readonly entered: Float32Array | null;
  readonly hidden: Float32Array | null;
  readonly rowSums: Float32Array;
  readonly logitRowSums: Float32Array | null;
  readonly activations: Uint8Array | null;
  readonly logits: Float32Array | null;
}

/** Which states are read and written; what pads reads none, and writes what nobody reads. */
function fillStates(sequences: readonly StepSequence[], groups: Views['states']): void {
  let next = 0;
  for (const { from, to } of groups)
    for (let i = 0; i < from.length; i++) {
      const state = sequences[next++]?.state;
      from[i] = state?.from ?? emptyState;
      to[i] = BigInt(state?.to ?? wasteState);
    }
}

function firstRows<T extends Uint8Array | Float32Array>(values: T, rows: number, of: number): T {
  return values.subarray(0, (values.length / of) * rows) as T;
}

/** A Hadamard matrix, normed (llama-kv-cache.cpp, ggml_gen_hadamard). */
function fillHadamard(matrix: Float32Array): void {
  const n = Math.sqrt(matrix.length);
  const value = 1 / Math.fround(Math.sqrt(n));
  for (let row = 0; row < n; row++)
    for (let column = 0; column < n; column++)
      matrix[row * n + column] = isOdd(row & column) ? -value : value;
}

/** Whether an odd number of bits are set. */
function isOdd(bits: number): boolean {
  let odd = false;
  for (let rest = bits; rest > 0; rest &= rest - 1) odd = !odd;
  return odd;
}
