export { SimulatedClock } from './clock/simulated-clock.js';
export { isShortened, triedOf } from './matrix.js';
export { childProcessIds, peakResidentBytes, residentBytes } from './process-memory.js';
export { freePort } from './network/free-port.js';
export { SimulatedHost } from './network/simulated-host.js';
export { SimulatedLink } from './network/simulated-link.js';
export { SimulatedNetwork } from './network/simulated-network.js';
export { TcpProxy } from './network/tcp-proxy.js';
export { OracleBatch, openOracleBatches } from './oracle-batch.js';
export type { OracleBatchOptions } from './oracle-batch.js';
export { openEmbeddingOracle } from './oracle-embeddings.js';
export { OracleSamplers } from './oracle-samplers.js';
export type { OracleCandidate, OracleSampler } from './oracle-samplers.js';
export { OracleHead } from './oracle-head.js';
export { openOracleSteps } from './oracle-steps.js';
export type { OraclePart } from './oracle-steps.js';
export { Oracle, openOracle } from './oracle.js';
export {
  architectureFixtures,
  architectureHeader,
  writeArchitectureModel,
} from './synthetic/architecture-model.js';
export type { ArchitectureFixture, ArchitectureHeader, MatrixType } from './synthetic/architecture-model.js';
export { cachedArchitectureModel, cachedSyntheticModel } from './synthetic/cached-model.js';
export { withHeadLayer } from './synthetic/head-model.js';
export { encodeGgufHeader } from './synthetic/gguf-encoder.js';
export type { MetadataEntry, TensorEntry } from './synthetic/gguf-encoder.js';
export { randomBits } from './synthetic/random.js';
export { successorsOf } from './synthetic/shape.js';
export type { SyntheticModelOptions, SyntheticType } from './synthetic/shape.js';
export { tinyModel } from './synthetic/tiny-model.js';
