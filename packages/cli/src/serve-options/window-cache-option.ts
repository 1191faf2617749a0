import { type ModelSpec, windowsOf } from '@butterfly/model';
import { windowCaches } from 'butterfly/command';
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

/** What layers with a sliding window keep of a model as it is served; null where that is all, as in other layers. */
export function windowWords(spec: Pick<ModelSpec, 'graph'>): string | null {
  const windows = windowsOf(spec);
  return windows
    ? `Layers with a sliding window of ${windows.windowTokens} keep ${windows.roomSlots} tokens in each of ${windows.rooms} rooms.`
    : null;
}
