import { silentLogger } from '@butterfly/common';
import { loadGgml } from '@butterfly/ggml';
import { expect, it } from 'vitest';
import { ggmlTypes, tensorBytes } from './ggml-types.js';

it('agrees with the library on every type', () => {
  const { base } = loadGgml({ log: silentLogger });
  for (const type of ggmlTypes.values())
    expect(type).toEqual({
      id: type.id,
      name: base.ggml_type_name(type.id)?.toUpperCase(),
      blockSize: base.ggml_blck_size(type.id),
      typeBytes: base.ggml_type_size(type.id),
    });
  const retired = Array.from({ length: 43 }, (_, id) => id).filter((id) => !ggmlTypes.has(id));
  expect(retired.map((id) => base.ggml_blck_size(id))).toEqual(retired.map(() => 0));
});

it('counts whole blocks', () => {
  const type = ggmlTypes.get(2);
  expect(type && tensorBytes(type, [64, 3])).toBe(2 * 18 * 3);
});
