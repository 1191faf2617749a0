import type { ModelTensor } from '@butterfly/model';

/** Where the bytes of tensors come from: a local file, or the orchestrator. */
export interface TensorSource extends AsyncDisposable {
  readonly kind: 'local' | 'remote';
  /**
   * Fills `target` with the tensor's bytes from `offset` on.
   * @throws ButterflyError MODEL_TRUNCATED, MODEL_NOT_FOUND, PROTOCOL_INVALID (a wrong hash), TIMEOUT, CONNECTION_CLOSED
   */
  read(tensor: ModelTensor, offset: number, target: Uint8Array): Promise<void>;
}
