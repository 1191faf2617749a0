import { type ModelSpec, hasHeadTensors, servedHead } from '@butterfly/model';
import { mtpWishes } from 'butterfly/command';
import { Option } from 'commander';

/** `--mtp`, for the commands that place a model. */
export function mtpOption(): Option {
  return new Option(
    '--mtp <mode>',
    'guess tokens by the layer of the model that predicts further ones (nextn, MTP) where that pays, which leaves the output as it is: auto: if it has one; on: or refuse it',
  )
    .choices([...mtpWishes])
    .default('off');
}

/** Whether a model has layers that predict further tokens, and what becomes of them; null where it has none. */
export function headWords(spec: Pick<ModelSpec, 'graph' | 'tensors'>): string | null {
  if (!hasHeadTensors(spec)) return null;
  if (servedHead(spec)) return 'Its layer that predicts further tokens (MTP) guesses, in the last stage.';
  return spec.graph.kind === 'imported' && spec.graph.head
    ? 'It has a layer that predicts further tokens (MTP), which guesses with --mtp on.'
    : 'It has layers that predict further tokens (MTP) of a kind that is not computed.';
}
