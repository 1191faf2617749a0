export { memberOf, planOf, profile, shardIdOf } from './controller.js';
