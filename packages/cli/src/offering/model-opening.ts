import type { Logger } from '@butterfly/common';
import type { PromptMaker } from '@butterfly/text';
import { type OpenedModel, openModel, surveysDirectory } from 'butterfly/command';
import type { Environment } from '../environment.js';
import { openPrompts, type PromptFlags } from '../prompts.js';

/** How a command reads models, and makes prompts for them. */
export function modelOpening(
  flags: PromptFlags & { readonly cacheDir?: string },
  environment: Environment,
  log: Logger,
): {
  readonly openModel: (path: string) => Promise<OpenedModel>;
  readonly openPrompts: (model: OpenedModel) => Promise<PromptMaker>;
} {
  const surveys = surveysDirectory(environment, flags.cacheDir);
  return {
    openModel: (path) => openModel(path, { ggmlDirectory: environment.BUTTERFLY_GGML_DIR, surveys, log }),
    openPrompts: (model) => openPrompts(model, flags, log),
  };
}
