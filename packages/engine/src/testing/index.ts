export { checkRequest } from '../scheduler/request-checks.js';
export { describeEngine } from './engine-contract.js';
