export { openOracle } from './oracle.js';
export type { Oracle, OracleOptions } from './oracle.js';
export { cachedSyntheticModel } from './synthetic/cached-model.js';
export { encodeGgufHeader } from './synthetic/gguf-encoder.js';
export type { MetadataEntry, TensorEntry } from './synthetic/gguf-encoder.js';
export type { SyntheticModelOptions, SyntheticType } from './synthetic/shape.js';
export { tinyModel } from './synthetic/tiny-model.js';
export { writeSyntheticModel } from './synthetic/write-model.js';
export type { WrittenModel } from './synthetic/write-model.js';
