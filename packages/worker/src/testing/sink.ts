/** Bytes of a frame before its header, docs/protocol.md. */
const preludeBytes = 24;

/** Takes what a stage sends: the type of each frame (its sixth byte) and the headers. */
export function sink() {
  const types: number[] = [];
  const headers: Uint8Array[] = [];
  let wake: () => void = () => undefined;
  return {
    types,
    headers,
    send: (parts: readonly Uint8Array[]) => {
      types.push(parts[0]?.[5] ?? -1);
      headers.push(parts[0]?.subarray(preludeBytes) ?? new Uint8Array(0));
      wake();
    },
    /** Resolves once so many frames were sent. */
    count: async (frames: number) => {
      while (types.length < frames) await new Promise<void>((resolve) => (wake = resolve));
    },
  };
}
