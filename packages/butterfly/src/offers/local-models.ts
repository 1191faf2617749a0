import { stat } from 'node:fs/promises';
import { type ButterflyError, toButterflyError } from '@butterfly/common';
import { listPulled } from '../hub/pulled.js';
import { type OpenOptions, ownModel, readModelSpec } from '../models/model.js';
import type { LocalModel } from './offers.js';

/** The models of this machine, those that cannot be opened apart. */
export interface LocalModels {
  readonly models: readonly LocalModel[];
  readonly refused: readonly { readonly reference: string; readonly error: ButterflyError }[];
}

/**
 * Describes the models that were pulled, and the one that ships with Butterfly.
 * @param directory of those that were pulled; null for none
 * @throws ButterflyError of the libraries, as `readModelSpec` does for the model that ships
 */
export async function localModels(directory: string | null, options: OpenOptions): Promise<LocalModels> {
  const models: LocalModel[] = [];
  const refused: LocalModels['refused'][number][] = [];
  for (const { reference, path, bytes } of directory === null ? [] : await listPulled(directory)) {
    try {
      models.push({ reference, path, bytes, spec: await readModelSpec(path, options) });
    } catch (thrown) {
      refused.push({ reference, error: toButterflyError(thrown) });
    }
  }
  const { size } = await stat(ownModel);
  const shipped = { reference: null, path: ownModel, bytes: size };
  return { models: [...models, { ...shipped, spec: await readModelSpec(ownModel, options) }], refused };
}
