import { describeFamilyModel, openGguf } from '@butterfly/model';
import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import type { ShardSettings } from '../deployment/deployment-types.js';

export async function tinyModelSettings(layers: number = tinyModel.layers): Promise<ShardSettings> {
  const spec = describeFamilyModel(await openGguf(await cachedSyntheticModel({ ...tinyModel, layers })));
  return { spec, arenaSlots: 1024, rowsMax: 64, isDeterministic: false };
}
