import { ensure } from '@butterfly/common';
import { type ArchitectureFixture, architectureFixtures, architectureHeader } from './architecture-model.js';

const headTensors = ['eh_proj', 'enorm', 'hnorm', 'shared_head_norm'];

/**
 * A model of `architectures.jsonl` with a layer more, like its last, which predicts the token after the next one.
 * With `circleTokens`, its guesses are right.
 */
export function withHeadLayer(name: string): ArchitectureFixture {
  const found = architectureFixtures().find((each) => each.name === name);
  ensure(found !== undefined, () => `There is no fixture ${name}.`);
  const fixture = { ...found, optional: [...new Set([...found.optional, 'output.weight'])] };
  const layers = Number(fixture.metadata.block_count);
  // Without weights at hand, llama.cpp takes the tensors of such a file to be optional, all of them.
  const names = architectureHeader(fixture, 'Q8_0').tensors.map((tensor) => tensor.name);
  const last = `blk.${layers - 1}.`;
  const own = names.filter((each) => each.startsWith(last)).map((each) => each.slice(last.length));
  const ofHead = [...own, ...headTensors.map((each) => `nextn.${each}.weight`)];
  return {
    ...fixture,
    name: `${name}-head`,
    metadata: { ...fixture.metadata, block_count: layers + 1, nextn_predict_layers: 1 },
    optional: [...names, ...ofHead.map((each) => `blk.${layers}.${each}`)],
    hasHeads: true,
  };
}
