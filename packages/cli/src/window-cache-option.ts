import { windowCaches } from 'butterfly';
import { Option } from 'commander';

/** `--window-cache`, for the commands that reserve the KV cache of a model. */
export function windowCacheOption(): Option {
  return new Option(
    '--window-cache <what>',
    'what layers with a sliding window keep of a sequence: window: what it needs; full: the whole context; auto: the former where that saves half of their memory and more',
  )
    .choices([...windowCaches])
    .default('auto');
}
