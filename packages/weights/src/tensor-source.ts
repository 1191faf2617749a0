import type { ModelTensor } from '@butterfly/model';

/** Where the bytes of tensors come from: a local file, the orchestrator, or whatever is nearest. */
export interface TensorSource extends AsyncDisposable {
  /** Images of memory full of converted weights. */
  readonly images?: ImageSource | undefined;
  /**
   * Fills `target` with the tensor's bytes from `offset` on.
   * @throws ButterflyError MODEL_TRUNCATED, MODEL_NOT_FOUND, MODEL_CHANGED, PROTOCOL_INVALID (a wrong hash), TIMEOUT,
   * CONNECTION_CLOSED, CANCELLED
   */
  read(tensor: ModelTensor, offset: number, target: Uint8Array): Promise<void>;
}

/** Memory full of weights in a layout of some kernels' own. */
export interface WeightMemory {
  /** Names all that decides which bytes belong here, the same only where the same bytes mean the same. */
  readonly meaning: string;
  /** Where it begins. */
  readonly address: bigint;
  readonly bytes: number;
  /** A part of it, to be used at once; null when it is freed. */
  view(offset: number, bytes: number): Uint8Array | null;
}

/** Gives and keeps weights as kernels want them. */
export interface ImageSource {
  /**
   * Fills the memory from its image; false, and nothing is to be relied on in it, when there is none.
   * @param onRead told of bytes as they come; may throw to end it
   * @throws ButterflyError CANCELLED
   */
  load(memory: WeightMemory, onRead: (bytes: number) => void): Promise<boolean>;
  /** Keeps the image of memory that was filled otherwise. @param savedMs how long loading waited for the conversion */
  keep(memory: WeightMemory, savedMs: number): void;
}
