export { LocalSource } from './local-source.js';
export { PeerWeights } from './peer-weights.js';
export { RemoteSource } from './remote-source.js';
export { openShardSource } from './shard-source.js';
export type { ShardSource } from './shard-source.js';
export type { TensorSource, WeightMemory } from './tensor-source.js';
export { WeightCache } from './weight-cache.js';
