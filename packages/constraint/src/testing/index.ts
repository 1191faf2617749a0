export { randomFrom, randomSchema } from './random-schemas.js';
export type { Random } from './random-schemas.js';
export { randomAnswer, tokensOf } from './random-answer.js';
export { byteVocabulary } from './byte-vocabulary.js';
