import type { OfferedModel } from '../context.js';

/** Of Ollama's API: what is here is what that version has. Its clients ask for at least some version. */
export const apiVersion = '0.12.6';

const detailsOf = ({ facts }: OfferedModel) => ({
  parent_model: '',
  format: 'gguf',
  family: facts.architecture,
  families: [facts.architecture],
  parameter_size: inBillions(facts.parameters),
  quantization_level: facts.quantisation,
});

function inBillions(parameters: number): string {
  const [size, unit] = parameters >= 1e9 ? [parameters / 1e9, 'B'] : [parameters / 1e6, 'M'];
  return `${size.toFixed(1)}${unit}`;
}

const dateOf = ({ createdS }: OfferedModel): string => new Date(createdS * 1000).toISOString();

/** As `/api/tags` lists it. */
export const tagEntry = (model: OfferedModel): object => ({
  name: model.id,
  model: model.id,
  modified_at: dateOf(model),
  size: model.facts.bytes,
  digest: model.facts.digest,
  details: detailsOf(model),
});

/** As `/api/ps` lists it. */
export const runningEntry = (model: OfferedModel): object => ({
  ...tagEntry(model),
  expires_at: model.expiresMs === null ? '9999-12-31T23:59:59Z' : new Date(model.expiresMs).toISOString(),
  size_vram: 0,
  context_length: model.contextTokens,
});

/** What `/api/show` tells. */
export function showEntry(model: OfferedModel): object {
  const { architecture, parameters, chatTemplate } = model.facts;
  return {
    license: '',
    modelfile: '',
    parameters: '',
    template: chatTemplate ?? '',
    details: detailsOf(model),
    model_info: {
      'general.architecture': architecture,
      'general.basename': model.id,
      'general.parameter_count': parameters,
      [`${architecture}.context_length`]: model.contextTokens,
    },
    capabilities: model.facts.capabilities,
    modified_at: dateOf(model),
  };
}
