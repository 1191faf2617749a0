import { createHash } from 'node:crypto';
import type { ModelFacts } from '@butterfly/api';
import { modelCapabilities } from '@butterfly/generation';
import { modelFingerprint, parameterCount, quantisation } from '@butterfly/model';
import { engineModel } from '@butterfly/orchestrator';
import type { PromptMaker } from '@butterfly/text';
import type { OpenedModel } from './opened-model.js';

/** What clients are told of a model. */
export function factsOf({ spec, vocabulary }: OpenedModel, prompts: PromptMaker): ModelFacts {
  const { generates } = engineModel(spec);
  const [most] = quantisation(spec);
  return {
    architecture: spec.architecture,
    parameters: parameterCount(spec),
    quantisation: most?.typeName ?? 'unknown',
    bytes: spec.tensors.reduce((sum, { bytes }) => sum + bytes, 0),
    contextTrained: spec.contextTrained,
    digest: createHash('sha256')
      .update(JSON.stringify(modelFingerprint(spec)))
      .digest('hex'),
    chatTemplate: spec.tokenizer.chatTemplate,
    // Others make embeddings too, but these make nothing else.
    capabilities: generates ? modelCapabilities({ vocabulary, prompts }) : ['embedding'],
  };
}
