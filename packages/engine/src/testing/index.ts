export { checkRequest } from '../scheduler/scheduler-checks.js';
export { describeEngine } from './engine-contract.js';
