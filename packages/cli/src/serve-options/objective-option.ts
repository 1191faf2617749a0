import { objectives } from '@butterfly/planning';
import { Option } from 'commander';

/** `--objective`, for the commands that make a plan. */
export function objectiveOption(): Option {
  return new Option(
    '--objective <what>',
    'latency: the time of a token of one stream; throughput: all together',
  )
    .choices([...objectives])
    .default('throughput');
}
