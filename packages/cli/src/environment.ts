import { logLevels, parseConfig } from '@butterfly/common';
import { z } from 'zod';

const schema = z.object({
  /** Folder with another build of the ggml libraries. */
  BUTTERFLY_GGML_DIR: z.string().min(1).optional(),
  /** Join token, where the command line would show it to every user of the machine. */
  BUTTERFLY_TOKEN: z.string().min(1).max(512).optional(),
  BUTTERFLY_LOG: z.enum(logLevels).default('warn'),
  /** Set for workers that `serve` starts: their parent decides when they stop. */
  BUTTERFLY_MANAGED: z.literal('1').optional(),
  /** Token for a hub of models, and its older name. Of no concern to anything but `pull`, and never shown. */
  HF_TOKEN: z.string().optional(),
  HUGGING_FACE_HUB_TOKEN: z.string().optional(),
  /** URL of another hub. */
  HF_ENDPOINT: z.string().optional(),
  /** Where systems say that caches go. */
  XDG_CACHE_HOME: z.string().optional(),
  LOCALAPPDATA: z.string().optional(),
});

export type Environment = z.output<typeof schema>;

/** Reads the environment, once. @throws ButterflyError CONFIG_INVALID */
export function readEnvironment(): Environment {
  return parseConfig(schema, process.env, 'environment');
}
