import koffi from 'koffi';
import { ButterflyError } from '@butterfly/common';
import type { Ggml } from '../library/library.js';
import type { Pointer } from '../library/symbols.js';
import type { Shape } from '../graph/tensor.js';

/** Where the fields of `struct ggml_tensor` (ggml.h) lie, in bytes. */
export const tensorStruct = {
  type: 0,
  buffer: 8,
  shape: 16,
  strides: 48,
  op: 80,
  params: 84,
  paramsBytes: 64,
  flags: 148,
  sources: 152,
  sourcesMax: 10,
  viewOf: 232,
  viewOffset: 240,
  data: 248,
  name: 256,
  nameBytes: 64,
  extra: 320,
  bytes: 336,
} as const;

/** `struct ggml_object`, which lies before every tensor in its context. */
const objectBytes = 32;

/** `enum ggml_tensor_flag`. */
export const tensorFlags = { input: 1, output: 2 } as const;

/** A tensor of a graph that llama.cpp built: what it is made of and from, without data. */
export interface ImportedTensor {
  readonly pointer: Pointer;
  /** As ggml names it, such as `MUL_MAT`; `NONE` of what is not computed. */
  readonly op: string;
  /** `enum ggml_op`. */
  readonly opCode: number;
  readonly type: number;
  readonly shape: Shape;
  /** Strides in bytes. */
  readonly strides: Shape;
  readonly flags: number;
  /** Null where an optional one is absent; none behind the last. */
  readonly sources: readonly (Pointer | null)[];
  /** The tensor whose data it is a window of, never itself one. */
  readonly viewOf: Pointer | null;
  /** Bytes. */
  readonly viewOffset: number;
  readonly name: string;
  /** `op_params`. */
  readonly params: Uint8Array;
}

/** Reads structs out of one stretch of native memory. */
export class TensorReader {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;

  /** @param start address of the memory. */
  constructor(
    private readonly ggml: Ggml,
    memory: ArrayBuffer,
    private readonly start: Pointer,
  ) {
    this.#view = new DataView(memory);
    this.#bytes = new Uint8Array(memory);
  }

  /** Copies what it reads, so that the memory may go. */
  read(pointer: Pointer): ImportedTensor {
    const at = Number(pointer - this.start);
    const whole = (offset: number): number => readInteger(this.#view, at + offset);
    const four = (offset: number): Shape => [
      whole(offset),
      whole(offset + 8),
      whole(offset + 16),
      whole(offset + 24),
    ];
    const address = (offset: number): Pointer | null => {
      const value = this.#view.getBigUint64(at + offset, true);
      return value === 0n ? null : value;
    };
    const sources: (Pointer | null)[] = [];
    for (let i = 0; i < tensorStruct.sourcesMax; i++) {
      const source = address(tensorStruct.sources + 8 * i);
      if (source === null) continue;
      while (sources.length < i) sources.push(null);
      sources.push(source);
    }
    const params = at + tensorStruct.params;
    const opCode = this.#view.getInt32(at + tensorStruct.op, true);
    return {
      pointer,
      op: opName(this.ggml, opCode),
      opCode,
      type: this.#view.getInt32(at + tensorStruct.type, true),
      shape: four(tensorStruct.shape),
      strides: four(tensorStruct.strides),
      flags: this.#view.getInt32(at + tensorStruct.flags, true),
      sources,
      viewOf: address(tensorStruct.viewOf),
      viewOffset: whole(tensorStruct.viewOffset),
      name: this.#name(at + tensorStruct.name),
      params: this.#bytes.slice(params, params + tensorStruct.paramsBytes),
    };
  }

  #name(at: number): string {
    let end = at;
    while (end < at + tensorStruct.nameBytes && this.#bytes[end] !== 0) end++;
    return String.fromCharCode(...this.#bytes.subarray(at, end));
  }
}

/** An integer of 64 bits below 2^53. */
function readInteger(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getInt32(at + 4, true) * 2 ** 32;
}

const names = new Map<number, string>();

/** The name of an operation, whose number differs from release to release. */
function opName(ggml: Ggml, op: number): string {
  const known = names.get(op);
  if (known !== undefined) return known;
  const name = ggml.base.ggml_op_name(op);
  names.set(op, name);
  return name;
}

/**
 * Makes some tensors through ggml's own functions and reads them back, before anything rests on the layout of its structs.
 * @throws ButterflyError LIBRARY_MISMATCH
 */
export function checkTensorStruct(ggml: Ggml): void {
  const { base } = ggml;
  const overhead = base.ggml_tensor_overhead();
  if (overhead !== objectBytes + tensorStruct.bytes) throw mismatch(`takes ${overhead} bytes`);
  const memory = new Uint8Array(16 * overhead);
  const context = base.ggml_init({
    memSize: memory.byteLength,
    memBuffer: koffi.address(memory),
    noAlloc: true,
  });
  if (context === null) throw new ButterflyError('COMPUTE_FAILED', 'ggml could not make a context.');
  try {
    const leaf = base.ggml_new_tensor_4d(context, 0, 6, 5, 4, 3);
    base.ggml_set_name(leaf, 'probe.weight');
    base.ggml_set_input(leaf);
    const normed = base.ggml_rms_norm(context, leaf, 0.25);
    const view = base.ggml_view_4d(context, normed, 3, 2, 1, 1, 24, 120, 480, 48);
    const sum = base.ggml_add(context, normed, leaf);
    const reader = new TensorReader(ggml, memory.buffer, koffi.address(memory));
    const read = [leaf, normed, view, sum].map((pointer) => reader.read(pointer));
    const expected = [
      ['NONE', '6,5,4,3', '4,24,120,480', '', null, 0, 'probe.weight', 1],
      ['RMS_NORM', '6,5,4,3', '4,24,120,480', `${leaf}`, null, 0, '', 0],
      ['VIEW', '3,2,1,1', '4,24,120,480', `${normed}`, normed, 48, ' (view)', 0],
      ['ADD', '6,5,4,3', '4,24,120,480', `${normed},${leaf}`, null, 0, '', 0],
    ];
    for (const [i, found] of read.entries()) {
      const fields = [
        found.op,
        found.shape.join(),
        found.strides.join(),
        found.sources.join(),
        found.viewOf,
        found.viewOffset,
        found.name,
        found.flags & tensorFlags.input,
      ];
      const wrong = fields.findIndex((field, k) => field !== expected[i]?.[k]);
      if (wrong >= 0) throw mismatch(`reads as ${String(fields[wrong])}`);
    }
    const epsilon = read[1] ? new DataView(read[1].params.buffer).getFloat32(0, true) : NaN;
    if (epsilon !== 0.25) throw mismatch(`has ${epsilon} as a parameter`);
  } finally {
    base.ggml_free(context);
  }
}

function mismatch(what: string): ButterflyError {
  return new ButterflyError(
    'LIBRARY_MISMATCH',
    `A tensor of these ggml libraries ${what}, which is not as in ggml.h of the release that Butterfly follows; reinstall the libraries.`,
  );
}
