import { cachedSyntheticModel, tinyModel } from '@butterfly/testkit';
import { expect, it } from 'vitest';
import { describeFamilyModel } from './describe.js';
import { openGguf } from '../gguf/gguf-file.js';
import { modelFingerprint } from './spec.js';

it('tells weights apart, and not where they lie', async () => {
  const spec = describeFamilyModel(await openGguf(await cachedSyntheticModel(tinyModel)));
  const other = describeFamilyModel(await openGguf(await cachedSyntheticModel({ ...tinyModel, seed: 2 })));
  const moved = { files: spec.files.map((file) => ({ ...file, path: '/elsewhere.gguf' })) };
  expect(modelFingerprint(moved)).toEqual(modelFingerprint(spec));
  expect(modelFingerprint(other)).not.toEqual(modelFingerprint(spec));
  expect(modelFingerprint(spec)).toEqual([
    [spec.files[0]?.bytes, spec.files[0]?.metadataSha256, spec.files[0]?.weightsSha256, spec.files[0]?.stamp],
  ]);
});
