export { randomFrom, randomSchema } from './random-schemas.js';
export type { Random } from './random-schemas.js';
export { accepts, randomAnswer, sampledSequence, tokensOf } from './random-answer.js';
export { byteVocabulary } from './byte-vocabulary.js';
